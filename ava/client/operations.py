"""Bulk operations: `client.operations.retry(status="failed")` acts on all jobs that match filters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict, Unpack

from ava.client.calls import ApiResource, Calls, key_header
from ava.client.flows import Flow, Listing, Mode, call, listing
from ava.client.records import Operation
from ava.client.sent import segment, sent_time

_JOBS, _OPERATIONS = "/v1/ava/jobs", "/v1/ava/operations"


class JobFilters(TypedDict, total=False):
    """Filters of jobs; an omitted filter, or None, matches any job."""

    worker_id: str | None
    status: str | None
    trigger: str | None
    #: Inclusive.
    created_after: datetime | str | None
    #: Exclusive.
    created_before: datetime | str | None
    #: Inclusive, and exclusive, bounds of the job's end.
    completed_after: datetime | str | None
    completed_before: datetime | str | None
    priority: int | None
    #: The user, schedule or key that created the jobs.
    triggered_by: str | None
    #: A part of the error, at least 3 characters.
    error: str | None
    #: A part of an id.
    id: str | None
    tags: Mapping[str, str] | None
    #: The group of the error, `err_…`.
    error_id: str | None
    #: The jobs of a tree; the children of a job; True: only jobs that no other job created.
    tree_id: str | None
    parent_id: str | None
    root: bool | None
    #: What queued jobs wait for, such as `retry`.
    waits_for: str | None
    #: Exact values by path in the input: `{"account.id": 17}`.
    input: Mapping[str, str | float | bool | None] | None


class Operations(ApiResource[Mode]):
    """Calls about bulk operations."""

    @call
    def retry(self, *, idempotency_key: str | None = None, **filters: Unpack[JobFilters]) -> Flow[Operation]:
        """Trigger a new job for each matching final job. For up to 500 jobs the returned operation has ended."""
        return start(self._calls, "retry", filters, idempotency_key)

    @call
    def cancel(self, *, idempotency_key: str | None = None, **filters: Unpack[JobFilters]) -> Flow[Operation]:
        """Cancel all matching queued and running jobs. For up to 500 jobs the returned operation has ended."""
        return start(self._calls, "cancel", filters, idempotency_key)

    @call
    def count(self, kind: str, **filters: Unpack[JobFilters]) -> Flow[int]:
        """Return how many jobs a `retry` or `cancel` would act on now, up to the max count; changes nothing."""
        body = {"filter": filter_body(filters), "dry_run": True}
        data = yield from self._calls.data("POST", f"{_JOBS}/{kind}", body=body)
        return int(data["total"])

    @call
    def get(self, operation_id: str) -> Flow[Operation]:
        """Return an operation with its current counts."""
        return self._calls.record(Operation, "GET", f"{_OPERATIONS}/{segment(operation_id)}")

    @listing
    def list(self, *, state: str | None = None, per_page: int = 100) -> Listing[Operation]:
        """Return the operations, newest first."""
        return self._calls.records(Operation, _OPERATIONS, {"per_page": per_page, "filter[state]": state})

    @call
    def abort(self, operation_id: str) -> Flow[Operation]:
        """Abort an operation: it acts on no more jobs. Raises `ApiConflict` if it has ended."""
        return self._calls.record(Operation, "POST", f"{_OPERATIONS}/{segment(operation_id)}/abort")

    @call
    def wait(self, operation_id: str, timeout_seconds: float | None = None) -> Flow[Operation]:
        """Wait until an operation has ended and return it. Raises `WaitTimeout` if it has not ended in time."""
        return wait(self._calls, operation_id, timeout_seconds)


def start(calls: Calls, kind: str, filters: Mapping[str, Any], idempotency_key: str | None) -> Flow[Operation]:
    """Start an operation on the matching jobs."""
    body, headers = {"filter": filter_body(filters)}, key_header(idempotency_key)
    return calls.record(Operation, "POST", f"{_JOBS}/{kind}", body=body, headers=headers)


def wait(calls: Calls, operation_id: str, timeout_seconds: float | None) -> Flow[Operation]:
    """Wait until an operation has ended and return it. Raises `WaitTimeout`."""
    path = f"{_OPERATIONS}/{segment(operation_id)}"
    return calls.until(lambda operation: not operation.is_running, Operation, path, timeout_seconds)


def filter_body(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return filters as JSON values, without those that are None."""
    return {name: sent_time(value) for name, value in filters.items() if value is not None}


def filter_params(filters: Mapping[str, Any]) -> dict[str, Any]:
    body = filter_body(filters)
    named = {f"filter[tag.{key}]": value for key, value in body.pop("tags", {}).items()}
    for path, value in body.pop("input", {}).items():
        named[f"filter[input.{path}]"] = value if isinstance(value, str) else json.dumps(value)
    values = {name: str(value).lower() if isinstance(value, bool) else value for name, value in body.items()}
    return {f"filter[{name}]": value for name, value in values.items()} | named
