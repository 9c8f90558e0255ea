"""Calls about workers, queues, nodes, tenants, limits and reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Unpack

from ava.client.calls import Calls, key_header
from ava.client.reading import read
from ava.client.records import (
    Analytics,
    AuditEntry,
    Limit,
    Node,
    Overview,
    PausedQueue,
    Promotion,
    Queues,
    TenantLoad,
    TenantRules,
    Worker,
    WorkerLimit,
)
from ava.client.sent import WorkerChanges, segment

_WORKERS = "/v1/ava/workers"


class FleetCalls:
    """The client's calls that do not concern a single job."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def workers(self, *, status: str | None = None, live: bool | None = None, q: str | None = None) -> Iterator[Worker]:
        """Return the matching workers, ordered by id, without their settings. `q`: a part of the name or id."""
        params: dict[str, Any] = {"per_page": 100}
        given = {"filter[status]": status, "filter[live]": None if live is None else str(live).lower(), "q": q}
        for data in self._pages("/v1/ava/workers", params | {k: v for k, v in given.items() if v is not None}):
            yield read(Worker, data)

    def worker(self, worker_id: str) -> Worker:
        """Return a worker."""
        return read(Worker, self._calls.data("GET", f"/v1/ava/workers/{segment(worker_id)}"))

    def change_worker(self, worker_id: str, **changes: Unpack[WorkerChanges]) -> Worker:
        """Change a worker's settings for the tenant; None resets one. Returns the worker."""
        return read(Worker, self._calls.data("PATCH", f"/v1/ava/workers/{segment(worker_id)}", body=changes))

    def pause_worker(self, worker_id: str) -> Worker:
        """Pause a worker: its jobs are accepted and wait until it is resumed."""
        return self.change_worker(worker_id, status="paused")

    def resume_worker(self, worker_id: str) -> Worker:
        """Reset the tenant's own status of a worker, so that its jobs start again."""
        return self.change_worker(worker_id, status=None)

    def queues(self) -> Queues:
        """Return the numbers of queued and running jobs."""
        return read(Queues, self._calls.data("GET", "/v1/ava/queues"))

    def overview(self) -> Overview:
        """Return the totals of the tenant's jobs."""
        return read(Overview, self._calls.data("GET", "/v1/ava/overview"))

    def analytics(
        self,
        days: int = 30,
        *,
        worker_id: str | None = None,
        group_by: str | None = None,
        percentiles: bool = False,
    ) -> Analytics:
        """Return statistics of the jobs that ended in the last `days`. `group_by`: `hour` or `day`, for a series."""
        params = {"days": days, "filter[worker_id]": worker_id, "group_by": group_by}
        params["percentiles"] = "true" if percentiles else None
        return read(Analytics, self._calls.data("GET", "/v1/ava/analytics", params=params))

    def nodes(self) -> tuple[Node, ...]:
        """Return the nodes, live ones first."""
        return tuple(read(Node, data) for data in self._calls.data("GET", "/v1/ava/nodes"))

    def promotions(self) -> tuple[Promotion, ...]:
        """Return the latest promotions of a PostgreSQL standby, newest first. Requires a platform role."""
        return tuple(read(Promotion, data) for data in self._calls.data("GET", "/v1/ava/promotions"))

    def tenants(self) -> tuple[TenantLoad, ...]:
        """Return the load of every tenant, most failures first. Requires a platform role."""
        found = [read(TenantLoad, data) for data in self._pages("/v1/ava/tenants", {})]
        return tuple(sorted(found, key=lambda load: (-load.failed, -load.waiting, -load.running, load.tenant_id)))

    def drain_node(self, node_id: str) -> Node:
        """Drain a node: it takes no new jobs and finishes the running ones. Requires a platform role."""
        return read(Node, self._calls.data("POST", f"/v1/ava/nodes/{segment(node_id)}/drain"))

    def resume_node(self, node_id: str) -> Node:
        """Have a drained node take jobs again. Requires a platform role."""
        return read(Node, self._calls.data("POST", f"/v1/ava/nodes/{segment(node_id)}/resume"))

    def audit(
        self,
        *,
        action: str | None = None,
        user_id: str | None = None,
        target: str | None = None,
        per_page: int = 100,
    ) -> Iterator[AuditEntry]:
        """Return the matching entries of the audit trail, newest first."""
        filters = {"filter[action]": action, "filter[user_id]": user_id, "filter[target]": target}
        params = {name: value for name, value in filters.items() if value is not None}
        for data in self._pages("/v1/ava/audit", params | {"per_page": per_page}):
            yield read(AuditEntry, data)

    def tenant_limits(self, tenant_id: str) -> TenantRules:
        """Return the limits that operators have set for a tenant: the caller's own, or any for a platform role."""
        return read(TenantRules, self._calls.data("GET", f"/v1/ava/tenants/{segment(tenant_id)}/limits"))

    def set_tenant_limits(
        self,
        tenant_id: str,
        *,
        max_running: int | None = None,
        weight: float | None = None,
        most_urgent_priority: int | None = None,
        retention_days: float | None = None,
    ) -> TenantRules:
        """Replace a tenant's limits; None means the installation's default. Requires a platform role."""
        body = {
            "max_running": max_running,
            "weight": weight,
            "most_urgent_priority": most_urgent_priority,
            "retention_days": retention_days,
        }
        return read(TenantRules, self._calls.data("PUT", f"/v1/ava/tenants/{segment(tenant_id)}/limits", body=body))

    def pause_queue(self, queue: str) -> PausedQueue:
        """Pause a queue: its jobs wait. Returns who paused it, and when. Requires a platform role."""
        return read(PausedQueue, self._calls.data("POST", f"/v1/ava/queues/{segment(queue)}/pause"))

    def resume_queue(self, queue: str) -> bool:
        """Resume a queue. Returns False if it was not paused. Requires a platform role."""
        return bool(self._calls.data("POST", f"/v1/ava/queues/{segment(queue)}/resume")["was_paused"])

    def limits(self) -> tuple[Limit, ...]:
        """Return the installation's limits and the tenant's use of them."""
        return tuple(read(Limit, data) for data in self._calls.data("GET", "/v1/ava/limits"))

    def worker_limits(self) -> Sequence[WorkerLimit]:
        """Return the workers with a limit and the tenant's use of it."""
        return [read(WorkerLimit, data) for data in self._calls.data("GET", "/v1/ava/limits/workers")]

    def _pages(self, path: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        place: dict[str, Any] = {}
        while True:
            response = self._calls.send("GET", path, params={**params, **place}).json()
            yield from response["data"]
            pagination = response["pagination"]
            if not pagination["has_more"]:
                return
            # A sorted list has no cursor.
            following = pagination["next_cursor"]
            place = {"page": pagination["page"] + 1} if following is None else {"cursor": following}


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
