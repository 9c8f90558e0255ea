"""Calls about pull workers, which claim their runs over HTTP: `client.pull_workers.create(…)`."""

from __future__ import annotations

from typing import Any

from ava.client.calls import Calls, key_header
from ava.client.paths import segment
from ava.client.reading import read
from ava.client.records import Worker

_WORKERS = "/v1/ava/workers"


class PullWorkers:
    """Calls about pull workers.

    `client.workers()` lists them, and `client.change_worker` changes them.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def create(self, slug: str, *, idempotency_key: str | None = None, **fields: Any) -> Worker:
        """Create a worker with the id `wkr_` and the slug.

        `fields`: `name`, `timeout_seconds`, `retry`, `input_schema`, `max_running`, `rate`, `scope`.
        """
        body = {"slug": slug, "runtime": "pull", **fields}
        headers = key_header(idempotency_key)
        return read(Worker, self._calls.data("POST", _WORKERS, body=body, headers=headers))

    def delete(self, worker_id: str, *, scope: str | None = None) -> None:
        """Delete a worker. Raises `ApiConflict` while it has waiting or running jobs."""
        params = {} if scope is None else {"scope": scope}
        self._calls.data("DELETE", f"{_WORKERS}/{segment(worker_id)}", params=params)
