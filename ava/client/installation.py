"""Calls about keys, queues, nodes, promotions, tenants, limits, the audit trail, reports, sessions and MCP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ava.client.calls import OUTAGES, ApiResource, PausableResource, flag, key_header
from ava.client.flows import Flow, Listing, Mode, Request, call, listing
from ava.client.records import (
    Analytics,
    ApiKey,
    AuditEntry,
    Limit,
    Node,
    Overview,
    Promotion,
    Queue,
    Queues,
    Series,
    TenantLoad,
    TenantRules,
    WorkerLimit,
)
from ava.client.sent import segment, sent_time, time_range

#: Timeout of an MCP message in seconds; its response may wait 25 s for a job.
_MCP_SECONDS = 60


class QueueCalls(PausableResource[Mode, Queue]):
    """Calls about queues. Jobs of a paused queue wait; only platform roles pause and resume one."""

    _kind, _path = Queue, "/v1/ava/queues"

    @call
    def counts(self, *, paused: bool | None = None) -> Flow[Queues]:
        """Return the numbers of queued and running jobs, and the queues: all, paused or other ones."""
        return self._calls.record(Queues, "GET", self._path, params={"filter[paused]": flag(paused)})


class Nodes(PausableResource[Mode, Node]):
    """Calls about nodes. A paused node finishes its running jobs and takes no others; only platform roles pause one."""

    _kind, _path = Node, "/v1/ava/nodes"

    @listing
    def list(self, *, paused: bool | None = None, per_page: int = 100) -> Listing[Node]:
        """Return the nodes, live ones first: all, paused or other ones."""
        return self._calls.records(Node, self._path, {"filter[paused]": flag(paused), "per_page": per_page})


class Promotions(ApiResource[Mode]):
    """Calls about promotions of a PostgreSQL standby."""

    @listing
    def list(self, *, per_page: int = 100) -> Listing[Promotion]:
        """Return the promotions, the latest first. Requires a platform role."""
        return self._calls.records(Promotion, "/v1/ava/promotions", {"per_page": per_page})


class Tenants(ApiResource[Mode]):
    """Calls about tenants."""

    @listing
    def list(self, *, per_page: int = 100) -> Listing[TenantLoad]:
        """Return the load of every tenant with jobs, by id. Requires a platform role."""
        return self._calls.records(TenantLoad, "/v1/ava/tenants", {"per_page": per_page})

    @call
    def limits(self, tenant_id: str) -> Flow[TenantRules]:
        """Return the limits that operators have set for a tenant: the caller's own, or any for a platform role."""
        return self._calls.record(TenantRules, "GET", f"/v1/ava/tenants/{segment(tenant_id)}/limits")

    @call
    def set_limits(
        self,
        tenant_id: str,
        *,
        max_running: int | None = None,
        weight: float | None = None,
        most_urgent_priority: int | None = None,
        retention_days: float | None = None,
    ) -> Flow[TenantRules]:
        """Replace a tenant's limits; None means the installation's default. Requires a platform role."""
        body = {
            "max_running": max_running,
            "weight": weight,
            "most_urgent_priority": most_urgent_priority,
            "retention_days": retention_days,
        }
        return self._calls.record(TenantRules, "PUT", f"/v1/ava/tenants/{segment(tenant_id)}/limits", body=body)


class Limits(ApiResource[Mode]):
    """Calls about limits."""

    @listing
    def list(self, *, per_page: int = 100) -> Listing[Limit]:
        """Return the installation's limits and the tenant's use of them."""
        return self._calls.records(Limit, "/v1/ava/limits", {"per_page": per_page})

    @listing
    def workers(self, *, per_page: int = 100) -> Listing[WorkerLimit]:
        """Return the workers with a limit and the tenant's use of it."""
        return self._calls.records(WorkerLimit, "/v1/ava/limits/workers", {"per_page": per_page})


class Audit(ApiResource[Mode]):
    """Calls about the audit trail."""

    @listing
    def list(
        self,
        *,
        action: str | None = None,
        actor_id: str | None = None,
        label: str | None = None,
        target: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        per_page: int = 100,
    ) -> Listing[AuditEntry]:
        """Return the matching entries of the audit trail, newest first. `label`: the user that an API key named."""
        names = {"action": action, "actor_id": actor_id, "label": label, "target": target}
        filters = {f"filter[{name}]": value for name, value in names.items()}
        return self._calls.records(
            AuditEntry, "/v1/ava/audit", filters | time_range(since, until) | {"per_page": per_page}
        )


class Reports(ApiResource[Mode]):
    """Calls about totals and statistics of jobs."""

    @call
    def overview(self) -> Flow[Overview]:
        """Return the totals of the tenant's jobs."""
        return self._calls.record(Overview, "GET", "/v1/ava/overview")

    @call
    def analytics(
        self, days: int = 30, *, worker_id: str | None = None, group_by: str | None = None, percentiles: bool = False
    ) -> Flow[Analytics]:
        """Return statistics of the jobs that ended in the last `days`. `group_by`: `hour` or `day`, for a series."""
        params = {"days": days, "filter[worker_id]": worker_id, "group_by": group_by}
        params["percentiles"] = "true" if percentiles else None
        return self._calls.record(Analytics, "GET", "/v1/ava/analytics", params=params)

    @call
    def series(
        self,
        *,
        range_seconds: int | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        worker_id: str | None = None,
        queue: str | None = None,
        tenant_id: str | None = None,
        scope: str | None = None,
    ) -> Flow[Series]:
        """Return the values of charts in steps of a time range, by default of the last hour.

        `tenant_id`, or `scope="platform"` for all tenants, is for platform roles.
        """
        filters = {"filter[worker_id]": worker_id, "filter[queue]": queue, "filter[tenant_id]": tenant_id}
        params = filters | time_range(since, until) | {"range_seconds": range_seconds, "scope": scope}
        return self._calls.record(Series, "GET", "/v1/ava/series", params=params)


class Sessions(ApiResource[Mode]):
    """Calls about sessions of the dashboard."""

    @call
    def create_link(self) -> Flow[str]:
        """Return a link that signs in to the dashboard as this caller, once and within 10 minutes."""
        data = yield from self._calls.data("POST", "/v1/ava/session/links")
        return f"{self._calls.url}{data['path']}"

    @call
    def end(self) -> Flow[int]:
        """End all sessions of this user in the tenant, and its unused links. Returns the number of sessions."""
        data = yield from self._calls.data("DELETE", "/v1/ava/sessions")
        return int(data["ended"])


class Mcp(ApiResource[Mode]):
    """MCP messages of an agent, for a bridge."""

    @call
    def send(self, message: bytes, headers: Mapping[str, str]) -> Flow[bytes]:
        """Send a message unchanged, with the headers that repeat it. Returns the response; b"" if there is none.

        An Idempotency-Key among the headers makes it safe to repeat. Raises `ApiUnavailable`.
        """
        request = Request(method="POST", url="/mcp", content=message, headers=headers, read_seconds=_MCP_SECONDS)
        response = yield from self._calls.exchange(request, OUTAGES)
        return response.content


_KEYS = "/v1/ava/keys"


class Keys(ApiResource[Mode]):
    """Calls about API keys."""

    @call
    def create(
        self,
        name: str,
        role: str,
        *,
        expires_at: datetime | str | None = None,
        payloads: bool = True,
        workers: Sequence[str] | None = None,
        triggers: Sequence[str] | None = None,
        scope: str | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[ApiKey]:
        """Create a key. Its `token` is in this response only; it is None if a retry found the key already created.

        With `payloads=False` its holder sees no input, output or log line. `workers`: with the role `worker`, the
        workers whose runs it may claim; `scope="platform"`: of all tenants; `triggers`: the workers of which these
        runs may create children, `["*"]` for all.
        """
        body: dict[str, Any] = {"name": name, "role": role, "expires_at": sent_time(expires_at)}
        if not payloads:
            body["payloads"] = False
        if workers is not None:
            body["workers"] = list(workers)
        if triggers is not None:
            body["triggers"] = list(triggers)
        if scope is not None:
            body["scope"] = scope
        headers = key_header(idempotency_key)
        return self._calls.record(ApiKey, "POST", _KEYS, body=body, headers=headers)

    @listing
    def list(self, *, per_page: int = 100) -> Listing[ApiKey]:
        """Return the tenant's keys, newest first."""
        return self._calls.records(ApiKey, _KEYS, {"per_page": per_page})

    @call
    def delete(self, key_id: str) -> Flow[None]:
        """Revoke a key; every process refuses it within 2 s."""
        return self._calls.delete(f"{_KEYS}/{segment(key_id)}")
