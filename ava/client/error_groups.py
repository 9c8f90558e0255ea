"""The errors of failed jobs of the client: `client.errors.list()`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ava.client.calls import CallGroup, key_header
from ava.client.paths import segment
from ava.client.reading import read
from ava.client.records import ErrorGroup, Operation

_ERRORS = "/v1/ava/errors"


class ErrorGroups(CallGroup):
    """Calls about groups of failed jobs. Every method raises the `ApiError` of the response's status."""

    def list(
        self, days: int = 30, *, worker_id: str | None = None, status: str | None = None, per_page: int = 100
    ) -> Iterator[ErrorGroup]:
        """Returns the groups in which jobs failed in so many days, those seen last first."""
        params: dict[str, Any] = {"days": days, "filter[worker_id]": worker_id, "filter[status]": status}
        for data in self._pages(_ERRORS, params | {"per_page": per_page}):
            yield read(ErrorGroup, data)

    def get(self, error_id: str, days: int = 30) -> ErrorGroup:
        """Returns a group, with the jobs of so many days."""
        return read(ErrorGroup, self._calls.data("GET", f"{_ERRORS}/{segment(error_id)}", params={"days": days}))

    def resolve(self, error_id: str) -> ErrorGroup:
        """Resolve a group. It is open again when another job fails in this way."""
        return self._change(error_id, "resolve")

    def ignore(self, error_id: str) -> ErrorGroup:
        """Ignore a group. Its jobs are counted still."""
        return self._change(error_id, "ignore")

    def reopen(self, error_id: str) -> ErrorGroup:
        """Open a group again."""
        return self._change(error_id, "reopen")

    def retry(self, error_id: str, *, idempotency_key: str | None = None) -> Operation:
        """Trigger a new job like each failed one of a group, the newest 10,000 at most."""
        headers = key_header(idempotency_key)
        return read(Operation, self._calls.data("POST", f"{_ERRORS}/{segment(error_id)}/retry", headers=headers))

    def _change(self, error_id: str, action: str) -> ErrorGroup:
        return read(ErrorGroup, self._calls.data("POST", f"{_ERRORS}/{segment(error_id)}/{action}"))
