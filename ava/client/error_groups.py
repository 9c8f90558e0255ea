"""Calls about the errors of failed jobs: `client.errors.list()`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ava.client.calls import CallGroup, key_header
from ava.client.reading import read
from ava.client.records import ErrorGroup, Operation
from ava.client.sent import segment

_ERRORS = "/v1/ava/errors"


class ErrorGroups(CallGroup):
    """Calls about groups of failed jobs."""

    def list(
        self, days: int = 30, *, worker_id: str | None = None, status: str | None = None, per_page: int = 100
    ) -> Iterator[ErrorGroup]:
        """Return the groups with failures in the last `days`, the latest seen first."""
        params: dict[str, Any] = {"days": days, "filter[worker_id]": worker_id, "filter[status]": status}
        for data in self._pages(_ERRORS, params | {"per_page": per_page}):
            yield read(ErrorGroup, data)

    def get(self, error_id: str, days: int = 30) -> ErrorGroup:
        """Return a group with its jobs of the last `days`."""
        return read(ErrorGroup, self._calls.data("GET", f"{_ERRORS}/{segment(error_id)}", params={"days": days}))

    def resolve(self, error_id: str) -> ErrorGroup:
        """Resolve a group. It reopens when another job fails with this error."""
        return self._change(error_id, "resolve")

    def ignore(self, error_id: str) -> ErrorGroup:
        """Ignore a group. Its jobs are still counted."""
        return self._change(error_id, "ignore")

    def reopen(self, error_id: str) -> ErrorGroup:
        """Reopen a group."""
        return self._change(error_id, "reopen")

    def retry(self, error_id: str, *, idempotency_key: str | None = None) -> Operation:
        """Trigger a new job for each failed job of a group, at most the newest 10,000."""
        headers = key_header(idempotency_key)
        return read(Operation, self._calls.data("POST", f"{_ERRORS}/{segment(error_id)}/retry", headers=headers))

    def _change(self, error_id: str, action: str) -> ErrorGroup:
        return read(ErrorGroup, self._calls.data("POST", f"{_ERRORS}/{segment(error_id)}/{action}"))
