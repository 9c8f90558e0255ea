"""Bulk operations: `client.operations.retry(status="failed")` acts on all jobs that match filters."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypedDict, Unpack

from ava.client.calls import CallGroup, key_header
from ava.client.errors import WaitTimeout
from ava.client.reading import read
from ava.client.records import Operation
from ava.client.sent import segment, sent_time

_OPERATIONS = "/v1/ava/operations"
_WAIT_SECONDS = 30


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


class Operations(CallGroup):
    """Calls about bulk operations."""

    def retry(self, *, idempotency_key: str | None = None, **filters: Unpack[JobFilters]) -> Operation:
        """Trigger a new job for each matching final job. For up to 500 jobs the returned operation has ended."""
        return self._start("retry", filters, idempotency_key)

    def cancel(self, *, idempotency_key: str | None = None, **filters: Unpack[JobFilters]) -> Operation:
        """Cancel all matching queued and running jobs. For up to 500 jobs the returned operation has ended."""
        return self._start("cancel", filters, idempotency_key)

    def count(self, kind: str, **filters: Unpack[JobFilters]) -> int:
        """Return how many jobs a `retry` or `cancel` would act on now, up to the max count; changes nothing."""
        body = {"filter": filter_body(filters), "dry_run": True}
        return int(self._calls.data("POST", f"/v1/ava/jobs/{kind}", body=body)["total"])

    def _start(self, kind: str, filters: Mapping[str, Any], key: str | None) -> Operation:
        headers = key_header(key)
        body = {"filter": filter_body(filters)}
        return read(Operation, self._calls.data("POST", f"/v1/ava/jobs/{kind}", body=body, headers=headers))

    def get(self, operation_id: str) -> Operation:
        """Return an operation with its current counts."""
        return read(Operation, self._calls.data("GET", f"{_OPERATIONS}/{segment(operation_id)}"))

    def list(self, *, state: str | None = None, per_page: int = 100) -> Iterator[Operation]:
        """Return the operations, newest first."""
        params: dict[str, Any] = {"per_page": per_page} | ({} if state is None else {"filter[state]": state})
        for data in self._pages(_OPERATIONS, params):
            yield read(Operation, data)

    def abort(self, operation_id: str) -> Operation:
        """Abort an operation: it acts on no more jobs. Raises `ApiConflict` if it has ended."""
        return read(Operation, self._calls.data("POST", f"{_OPERATIONS}/{segment(operation_id)}/abort"))

    def wait(self, operation_id: str, timeout_seconds: float | None = None) -> Operation:
        """Wait until an operation has ended and return it. Raises `WaitTimeout` if it has not ended in time."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            left = _WAIT_SECONDS if deadline is None else min(_WAIT_SECONDS, deadline - time.monotonic())
            path, seconds = f"{_OPERATIONS}/{segment(operation_id)}", max(1, round(left))
            data = self._calls.data("GET", path, params={"wait": seconds}, read_seconds=seconds + 15)
            found = read(Operation, data)
            if not found.is_running:
                return found
            if left <= 0:
                raise WaitTimeout(f"{operation_id} is still running after {timeout_seconds:g} s.")


def filter_body(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return filters as JSON values, without those that are None."""
    return {name: sent_time(value) for name, value in filters.items() if value is not None}


def filter_params(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return filters as query parameters."""
    body = filter_body(filters)
    named = {f"filter[tag.{key}]": value for key, value in body.pop("tags", {}).items()}
    for path, value in body.pop("input", {}).items():
        named[f"filter[input.{path}]"] = value if isinstance(value, str) else json.dumps(value)
    texts = {name: str(value).lower() if isinstance(value, bool) else value for name, value in body.items()}
    return {f"filter[{name}]": value for name, value in texts.items()} | named
