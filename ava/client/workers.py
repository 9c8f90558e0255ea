"""Calls about workers: `client.workers.pause(…)`."""

from __future__ import annotations

from typing import Any, Unpack

from ava.client.calls import ApiResource, flag, key_header
from ava.client.flows import Flow, Listing, Mode, call, listing
from ava.client.records import Worker
from ava.client.sent import WorkerChanges, segment

_WORKERS = "/v1/ava/workers"


class Workers(ApiResource[Mode]):
    """Calls about workers."""

    @listing
    def list(
        self, *, status: str | None = None, live: bool | None = None, paused: bool | None = None, q: str | None = None
    ) -> Listing[Worker]:
        """Return the matching workers, ordered by id, without their settings. `q`: a part of the name or id."""
        params = {"per_page": 100, "filter[status]": status, "q": q}
        params |= {"filter[live]": flag(live), "filter[paused]": flag(paused)}
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
    def pause(self, worker_id: str, /, reason: str | None = None, *, scope: str | None = None) -> Flow[Worker]:
        """Pause a worker: its jobs are accepted and wait until it is resumed. `scope="platform"`: for all tenants."""
        body = {"reason": reason} if scope is None else {"reason": reason, "scope": scope}
        return self._calls.record(Worker, "POST", f"{_path(worker_id)}/pause", body=body)

    @call
    def resume(self, worker_id: str, /, *, scope: str | None = None) -> Flow[Worker]:
        """End the tenant's pause of a worker, or with `scope="platform"` the platform's."""
        body = {} if scope is None else {"scope": scope}
        return self._calls.record(Worker, "POST", f"{_path(worker_id)}/resume", body=body)

    @call
    def delete(self, worker_id: str, *, scope: str | None = None) -> Flow[None]:
        """Delete a pull worker. Raises `ApiConflict` while it has waiting or running jobs."""
        return self._calls.delete(_path(worker_id), params={"scope": scope})


def _path(worker_id: str) -> str:
    return f"{_WORKERS}/{segment(worker_id)}"
