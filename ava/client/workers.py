"""Calls about workers: `client.workers.pause(…)`."""

from __future__ import annotations

from typing import Any, Unpack

from ava.client.calls import ApiResource, key_header
from ava.client.flows import Flow, Listing, Mode, call, listing
from ava.client.records import Worker
from ava.client.sent import WorkerChanges, segment

_WORKERS = "/v1/ava/workers"


class Workers(ApiResource[Mode]):
    """Calls about workers."""

    @listing
    def list(self, *, status: str | None = None, live: bool | None = None, q: str | None = None) -> Listing[Worker]:
        """Return the matching workers, ordered by id, without their settings. `q`: a part of the name or id."""
        params = {"per_page": 100, "filter[status]": status, "q": q}
        params["filter[live]"] = None if live is None else str(live).lower()
        return self._calls.records(Worker, _WORKERS, params)

    @call
    def get(self, worker_id: str) -> Flow[Worker]:
        """Return a worker."""
        return self._calls.record(Worker, "GET", _path(worker_id))

    @call
    def create(self, /, slug: str, *, idempotency_key: str | None = None, **fields: Any) -> Flow[Worker]:
        """Create a pull worker with the id `wkr_` and the slug.

        `fields`: `name`, `timeout_seconds`, `retry`, `input_schema`, `max_running`, `rate`, `scope`.
        """
        body, headers = {"slug": slug, "runtime": "pull", **fields}, key_header(idempotency_key)
        return self._calls.record(Worker, "POST", _WORKERS, body=body, headers=headers)

    @call
    def update(self, worker_id: str, **changes: Unpack[WorkerChanges]) -> Flow[Worker]:
        """Change a worker's settings for the tenant; None resets one. Returns the worker."""
        return self._calls.record(Worker, "PATCH", _path(worker_id), body=changes)

    @call
    def pause(self, worker_id: str) -> Flow[Worker]:
        """Pause a worker: its jobs are accepted and wait until it is resumed."""
        return self._calls.record(Worker, "PATCH", _path(worker_id), body={"status": "paused"})

    @call
    def resume(self, worker_id: str) -> Flow[Worker]:
        """Reset the tenant's own status of a worker, so that its jobs start again."""
        return self._calls.record(Worker, "PATCH", _path(worker_id), body={"status": None})

    @call
    def delete(self, worker_id: str, *, scope: str | None = None) -> Flow[None]:
        """Delete a pull worker. Raises `ApiConflict` while it has waiting or running jobs."""
        return self._calls.delete(_path(worker_id), params={"scope": scope})


def _path(worker_id: str) -> str:
    return f"{_WORKERS}/{segment(worker_id)}"
