"""The cast of a history: tenants, workers, nodes and queues, and what is set of them at a moment."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

TENANTS = ("ten_a", "ten_b", "ten_c")
QUEUES = ("default", "slow")
#: The queue of the worker whose runs are pulled.
PULL = "pull"
PRIORITIES = (1, 5, 5, 5, 9)
ACCOUNTS = ("x", "y")
#: Seconds after which a node is dead. A history takes less, however busy the machine is.
DEAD_AFTER_SECONDS = 3600.0
#: Seconds after which a run that was claimed over HTTP times out. A history takes less.
PULLED_TIMEOUT_SECONDS = 3600.0


@dataclass(kw_only=True)
class Worker:
    """A worker as it stands at a moment."""

    id: str
    queue: str = "default"
    max_retries: int = 0
    fails_when_lost: bool = False
    max_running: int | None = None
    max_running_per: str | None = None
    #: Starts, and the seconds of the span.
    rate: tuple[int, float] | None = None
    rate_per: str | None = None
    retention_days: float | None = None

    def queue_of(self, tenant: str) -> str:
        """Returns the queue of a tenant's jobs."""
        return f"pull:*:{self.id}:{tenant}" if self.queue == PULL else self.queue

    @property
    def is_limited(self) -> bool:
        return self.max_running is not None or self.rate is not None

    def limit_key(self, tenant: str, account: str | None) -> str | None:
        """Returns the key of a job's limit, as `ava_limit_key` computes it."""
        if self.max_running is not None:
            return _key(self.id, self.max_running_per, tenant, account)
        return self.rate_key(tenant, account)

    def rate_key(self, tenant: str, account: str | None) -> str | None:
        return None if self.rate is None else _key(self.id, self.rate_per, tenant, account)


def _key(worker_id: str, per: str | None, tenant: str, account: str | None) -> str:
    if per is None:
        return worker_id
    if per == "tenant":
        return f"{worker_id} {tenant}"
    return f"{worker_id} {tenant} " + ("null" if account is None else f'"{account}"')


def make_workers() -> dict[str, Worker]:
    hour = 3600.0
    found = [
        Worker(id="wkr_plain"),
        Worker(id="wkr_retries", max_retries=2),
        Worker(id="wkr_fragile", max_retries=1, fails_when_lost=True, retention_days=1e-6),
        Worker(id="wkr_limited", max_retries=1, max_running=2),
        Worker(id="wkr_tenant", max_running=1, max_running_per="tenant"),
        Worker(id="wkr_account", max_retries=1, max_running=1, max_running_per="input.account", queue="slow"),
        Worker(id="wkr_rate", max_retries=2, rate=(3, hour)),
        Worker(id="wkr_coarse", max_retries=1, max_running=1, max_running_per="tenant", rate=(4, hour)),
        Worker(id="wkr_pulled", max_retries=1, queue=PULL),
        Worker(id="wkr_both", max_retries=2, max_running=2, rate=(4, hour), rate_per="tenant", queue="slow"),
    ]
    return {worker.id: worker for worker in found}


WORKERS = tuple(make_workers())
#: Those with a rate.
RATED = tuple(worker.id for worker in make_workers().values() if worker.rate is not None)


@dataclass(frozen=True, kw_only=True)
class Node:
    id: str
    queues: tuple[str, ...]
    workers: tuple[str, ...]


def _uuid(number: int) -> str:
    return str(uuid.UUID(int=number))


NODES = {
    node.id: node
    for node in (
        Node(id=_uuid(1), queues=QUEUES, workers=WORKERS),
        Node(id=_uuid(2), queues=("default",), workers=("wkr_retries", "wkr_limited", "wkr_rate", "wkr_coarse")),
        Node(id=_uuid(3), queues=("slow",), workers=("wkr_both",)),
    )
}


@dataclass(kw_only=True)
class World:
    """What is set at a moment, and who lives."""

    workers: dict[str, Worker] = field(default_factory=make_workers)
    #: Nodes that send heartbeats.
    living: set[str] = field(default_factory=lambda: set(NODES))
    #: The status of a worker by worker and tenant (`*`: of the platform).
    statuses: dict[tuple[str, str], str] = field(default_factory=dict)
    paused_queues: set[str] = field(default_factory=set)
    #: Whether runs of the pulled worker were claimed lately.
    is_claimed: bool = True
    #: The number of running jobs of tenants that have a limit.
    tenant_limits: dict[str, int] = field(default_factory=dict)

    def is_paused_queue(self, queue: str) -> bool:
        return queue.partition(":")[0] in self.paused_queues

    def status(self, worker_id: str, tenant: str) -> str:
        own, platform = self.statuses.get((worker_id, tenant)), self.statuses.get((worker_id, "*"))
        return own or platform or "active"

    def is_paused(self, worker_id: str, tenant: str) -> bool:
        return self.status(worker_id, tenant) == "paused"

    def is_served(self, worker_id: str, queue: str) -> bool:
        """Returns True if a living node has the worker's handler and the queue, or if the worker's runs are claimed."""
        return self.is_claimed if queue.startswith(PULL) else self.has_node(worker_id, queue)

    def has_node(self, worker_id: str, queue: str) -> bool:
        """Returns True if a living node has the worker's handler and the queue."""
        return any(worker_id in NODES[each].workers and queue in NODES[each].queues for each in self.living)

    def is_unserved(self, worker_id: str, queue: str) -> bool:
        """Returns True if living nodes have the queue, and none the handler, or if its runs are not claimed."""
        if queue.startswith(PULL):
            return not self.is_claimed
        has_nodes = any(queue in NODES[each].queues for each in self.living)
        return has_nodes and not self.is_served(worker_id, queue)
