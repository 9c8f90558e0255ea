"""States of limit keys with waiting jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ava.domain.limits.rates import Rate
from ava.domain.worker import PULL_QUEUE
from ava.store.engine.database import Connection, DedicatedConnection
from ava.store.engine.prepared import Prepared
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import PLAN_SECONDS
from ava.store.engine.transactions import open_transaction
from ava.store.fleet import nodes, worker_settings, workers
from ava.store.jobs.feed.permit_waits import JOB_ROWS, LimitedJob
from ava.store.jobs.transitions.permits import LOCK
from ava.store.jobs.transitions.rules import is_served_worker


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyState:
    key: str
    #: The most urgent priority with waiting jobs, and the first tenant in it.
    priority: int
    tenant_id: str
    #: The limits of the key's worker; None: no such limit.
    max_running: int | None
    rate: Rate | None
    #: Whether jobs of several tenants wait with this priority.
    is_of_several_tenants: bool
    #: Permits in use.
    taken: int
    #: Permits of unstarted jobs, and the least urgent priority among them.
    unstarted: int
    least_urgent: int | None
    #: The next jobs, up to the capacity. Empty if round-robin between tenants or a rate must choose them.
    next_jobs: Sequence[LimitedJob]

    @property
    def capacity(self) -> int:
        return 1_000_000 if self.max_running is None else self.max_running - self.taken


_ROWS = RecordRows(
    KeyState,
    "permits",
    columns={
        "key": "k.key",
        "priority": "head.priority",
        "tenant_id": "head.tenant_id",
        "max_running": "w.max_running",
        "rate": worker_settings.rate("w"),
        "is_of_several_tenants": "last.tenant_id <> head.tenant_id",
        "next_jobs": "next.jobs",
    },
    readers={"rate": worker_settings.read_rate, "next_jobs": lambda jobs: [JOB_ROWS.read(job) for job in jobs]},
)
# Leaves out keys if no live node of the queue serves the worker, or if the queue is paused: their jobs would return.
# The ORDER BYs match `jobs_waiting_for_permit` and `jobs_admitted`, because of `IN_ORDER`. `head` is the key's first
# waiting job, `last` the last tenant with the same priority, `permits` counts the permits in use.
_STATES = f"""
SELECT {_ROWS.columns}
FROM unnest(%(keys)s::text[]) AS k (key)
CROSS JOIN LATERAL (
    SELECT j.worker_id, j.priority, j.tenant_id FROM jobs AS j
    WHERE j.limit_key = k.key AND j.status = 'queued' AND j.waits_for = 'permit'
    ORDER BY j.limit_key, j.priority, j.tenant_id, j.id LIMIT 1
) AS head
CROSS JOIN LATERAL (
    SELECT j.tenant_id FROM jobs AS j
    WHERE j.limit_key = k.key AND j.priority = head.priority AND j.status = 'queued' AND j.waits_for = 'permit'
    ORDER BY j.limit_key DESC, j.priority DESC, j.tenant_id DESC LIMIT 1
) AS last
JOIN workers AS w ON {workers.of("head")}
CROSS JOIN LATERAL (
    SELECT count(*) AS taken, count(*) FILTER (WHERE status = 'queued') AS unstarted,
           max(priority) FILTER (WHERE status = 'queued') AS least_urgent
    FROM (
        SELECT a.status, a.priority FROM jobs AS a
        WHERE a.limit_key = k.key AND (a.status = 'running' OR a.status = 'queued' AND a.waits_for IS NULL)
        ORDER BY a.limit_key, a.status, a.priority, a.id) AS admitted
) AS permits
CROSS JOIN LATERAL (
    SELECT coalesce(json_agg(json_build_array({JOB_ROWS.columns})), '[]') AS jobs FROM (
        SELECT j.id, j.tenant_id, j.worker_id, j.queue, j.priority, j.limit_key, j.rate_key FROM jobs AS j
        WHERE j.limit_key = k.key AND j.priority = head.priority AND j.tenant_id = head.tenant_id
            AND j.status = 'queued' AND j.waits_for = 'permit'
        ORDER BY j.limit_key, j.priority, j.tenant_id, j.id
        LIMIT CASE WHEN w.rate_jobs IS NULL AND last.tenant_id = head.tenant_id
                   THEN greatest(0, least(w.max_running - permits.taken, %(max_next)s)) ELSE 0 END) AS j
) AS next
WHERE NOT EXISTS (SELECT FROM queues AS p WHERE p.queue = w.queue AND p.paused_at IS NOT NULL)
    AND ({is_served_worker("head.tenant_id")} OR w.queue <> '{PULL_QUEUE}'
        AND NOT EXISTS (SELECT FROM nodes AS n WHERE {nodes.IS_LIVE} AND w.queue = ANY(n.queues)))
"""
_KEY_STATES = Prepared("key_states", _STATES, plan_seconds=PLAN_SECONDS)


@contextmanager
def locked_key_states(
    connections: DedicatedConnection, keys: Collection[str], *, dead_after_seconds: float, max_next: int
) -> Iterator[tuple[Connection, list[KeyState]]]:
    """Begin a transaction with `lock` and a read in one message, because a job's start waits for it.

    Yields the connection and the states of keys with waiting jobs that a live node can run.
    """
    parameters = {"keys": list(keys), "dead_after": dead_after_seconds, "max_next": max_next}
    with open_transaction(connections, LOCK, _KEY_STATES, parameters) as (connection, found):
        yield connection, [_ROWS.read(row) for row in found]
