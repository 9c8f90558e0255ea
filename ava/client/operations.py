"""Bulk operations: `client.operations.retry(status="failed")` acts on all jobs that match filters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Unpack

from ava.client.calls import Calls, key_header, query_value
from ava.client.flows import Flow, Mode, call
from ava.client.methods import JobFilters, OperationsCalls
from ava.client.records import Operation
from ava.client.sent import segment, sent_fields

_JOBS, _OPERATIONS = "/v1/ava/jobs", "/v1/ava/operations"


class Operations(OperationsCalls[Mode]):
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
    return sent_fields(filters)


def filter_params(filters: Mapping[str, Any]) -> dict[str, Any]:
    body = filter_body(filters)
    named = {f"filter[tag.{key}]": value for key, value in body.pop("tags", {}).items()}
    for path, value in body.pop("input", {}).items():
        named[f"filter[input.{path}]"] = value if isinstance(value, str) else json.dumps(value)
    return {f"filter[{name}]": query_value(value) for name, value in body.items()} | named
