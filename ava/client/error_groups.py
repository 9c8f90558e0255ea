"""Calls about the errors of failed jobs: `client.errors.list()`."""

from __future__ import annotations

from datetime import datetime

from ava.client.calls import ApiResource, key_header
from ava.client.flows import Flow, Listing, Mode, call, listing
from ava.client.records import ErrorGroup, Operation
from ava.client.sent import segment, time_range

_ERRORS = "/v1/ava/errors"


class ErrorGroups(ApiResource[Mode]):
    """Calls about groups of failed jobs."""

    @listing
    def list(
        self,
        *,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        worker_id: str | None = None,
        status: str | None = None,
        per_page: int = 100,
    ) -> Listing[ErrorGroup]:
        """Return the groups with failures in a time range, by default of 30 days, the latest seen first."""
        params = {"per_page": per_page, "filter[worker_id]": worker_id, "filter[status]": status}
        return self._calls.records(ErrorGroup, _ERRORS, params | time_range(since, until))

    @call
    def get(
        self, error_id: str, *, since: datetime | str | None = None, until: datetime | str | None = None
    ) -> Flow[ErrorGroup]:
        """Return a group with its jobs of a time range, by default of 30 days."""
        params = time_range(since, until)
        return self._calls.record(ErrorGroup, "GET", f"{_ERRORS}/{segment(error_id)}", params=params)

    @call
    def resolve(self, error_id: str) -> Flow[ErrorGroup]:
        """Resolve a group. It reopens when another job fails with this error."""
        return self._change(error_id, "resolve")

    @call
    def ignore(self, error_id: str) -> Flow[ErrorGroup]:
        """Ignore a group. Its jobs are still counted."""
        return self._change(error_id, "ignore")

    @call
    def reopen(self, error_id: str) -> Flow[ErrorGroup]:
        """Reopen a group."""
        return self._change(error_id, "reopen")

    @call
    def retry(self, error_id: str, *, idempotency_key: str | None = None) -> Flow[Operation]:
        """Trigger a new job for each failed job of a group, at most the newest 10,000."""
        headers = key_header(idempotency_key)
        return self._calls.record(Operation, "POST", f"{_ERRORS}/{segment(error_id)}/retry", headers=headers)

    def _change(self, error_id: str, action: str) -> Flow[ErrorGroup]:
        return self._calls.record(ErrorGroup, "POST", f"{_ERRORS}/{segment(error_id)}/{action}")
