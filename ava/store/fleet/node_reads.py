"""Nodes as operators see them, each with the jobs that it runs for one tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from ava.domain import ids
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

#: Max nodes to list, and max jobs per node.
_MAX_NODES = 500
_MAX_JOBS = 50
#: Seconds after its last refusal in which a node is shown as refusing messages. A waiting job's message returns within
#: 30 s.
_REFUSED_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class RunningJob:
    """A job that a node runs."""

    id: str
    worker_id: str
    attempt: int
    started_at: datetime
    progress_json: str | None


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """A node, and the jobs that it runs for one tenant."""

    id: str
    #: The node's Celery name. Tenants see the id instead, because the name contains the host.
    name: str
    #: None: hidden from this caller.
    host: str | None
    pid: int | None
    version: str
    #: The queues that it consumes, and the queues that the broker refuses to it.
    queues: list[str]
    refused_queues: list[str]
    #: Why it refused messages in the last minute; empty if it refused none.
    refused_messages: list[str]
    workers: list[str]
    #: Max concurrent jobs, and current jobs of all tenants.
    processes: int
    busy: int
    #: Whether `processes` are slots of one process.
    has_slots: bool
    #: Memory of the parent and its children; None before the first heartbeat.
    memory_bytes: int | None
    #: `live`; `silent` if its heartbeats are missing; `stopped` after an orderly shutdown.
    state: str
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None
    #: Start of the drain, and the user who requested it; None if the node takes jobs.
    drained_at: datetime | None
    drained_by: str | None
    #: Number of jobs that it runs for the tenant, and the oldest of them.
    busy_of_tenant: int
    jobs: list[RunningJob]


_NODES = Statement("""
SELECT id::text, name, host, pid, version, queues, workers, processes, busy, memory_bytes,
    CASE WHEN stopped_at IS NOT NULL THEN 'stopped'
         WHEN seen_at > now() - %(dead_after)s * interval '1 second' THEN 'live' ELSE 'silent' END,
    started_at, seen_at, stopped_at, refused_queues, drained_at, drained_by,
    CASE WHEN refused_messages_at > now() - %(refused)s * interval '1 second' THEN refused_messages ELSE '{}' END,
    has_slots
FROM nodes ORDER BY stopped_at IS NOT NULL, started_at DESC, id LIMIT %(most)s
""")

_JOBS = Statement("""
SELECT n.id::text, j.id::text, j.worker_id, j.attempt, j.started_at, j.progress::text, j.running
FROM unnest(%(nodes)s::uuid[]) AS n (id) CROSS JOIN LATERAL (
    SELECT *, count(*) OVER () AS running FROM jobs
    WHERE node_id = n.id AND status = 'running' AND tenant_id = %(tenant_id)s
    ORDER BY started_at LIMIT %(most)s
) AS j
""")


_VISIBLE_WORKERS = Statement("""
SELECT id, queue FROM workers
WHERE tenant_id = '*' AND id = ANY(%(workers)s::text[]) AND (tenants IS NULL OR %(tenant_id)s = ANY(tenants))
""")


def only_visible(connection: Connection, views: list[NodeView], *, tenant_id: str) -> list[NodeView]:
    """Return the nodes that a tenant can use, restricted to its workers, their queues, and its jobs.

    Leaves out nodes with none of its workers, unless they still run a job of the tenant. Hides facts about the machines
    and other tenants' jobs.
    """
    named = sorted({worker for view in views for worker in view.workers})
    found = connection.exec_driver_sql(_VISIBLE_WORKERS, {"workers": named, "tenant_id": tenant_id})
    queues = {row.id: row.queue for row in found}
    visible = [_visible(view, queues) for view in views]
    return [view for view in visible if view.workers or view.jobs]


def _visible(view: NodeView, queues: Mapping[str, str]) -> NodeView:
    workers = [worker for worker in view.workers if worker in queues]
    shown = {queues[worker] for worker in workers}
    return replace(
        view,
        name=view.id,
        host=None,
        pid=None,
        busy=view.busy_of_tenant,
        memory_bytes=None,
        refused_messages=[],
        drained_by=None,
        workers=workers,
        queues=[queue for queue in view.queues if queue in shown],
        refused_queues=[queue for queue in view.refused_queues if queue in shown],
    )


def nodes(connection: Connection, *, tenant_id: str, dead_after_seconds: float) -> list[NodeView]:
    """Return all registered nodes, stopped ones last. A stopped node keeps its row for an hour."""
    parameters = {"dead_after": dead_after_seconds, "most": _MAX_NODES, "refused": _REFUSED_SECONDS}
    found = list(connection.exec_driver_sql(_NODES, parameters))
    counts, running = _running(connection, tenant_id, [row[0] for row in found])
    return [
        NodeView(
            id=ids.encode("node", row[0]),
            name=row[1],
            host=row[2],
            pid=row[3],
            version=row[4],
            queues=row[5],
            workers=row[6],
            processes=row[7],
            busy=row[8],
            memory_bytes=row[9],
            state=row[10],
            started_at=row[11],
            seen_at=row[12],
            stopped_at=row[13],
            refused_queues=row[14],
            drained_at=row[15],
            drained_by=row[16],
            refused_messages=row[17],
            has_slots=row[18],
            busy_of_tenant=counts.get(row[0], 0),
            jobs=running.get(row[0], []),
        )
        for row in found
    ]


def _running(
    connection: Connection, tenant_id: str, node_ids: list[str]
) -> tuple[dict[str, int], dict[str, list[RunningJob]]]:
    """Return the number of a tenant's jobs on each node, and the oldest of them, by the node's UUID."""
    parameters = {"nodes": node_ids, "tenant_id": tenant_id, "most": _MAX_JOBS}
    counts: dict[str, int] = {}
    running: dict[str, list[RunningJob]] = {}
    for row in connection.exec_driver_sql(_JOBS, parameters):
        node_id, job_id, worker_id, attempt, started_at, progress_json, count = row
        counts[node_id] = count
        running.setdefault(node_id, []).append(
            RunningJob(
                id=ids.encode("job", job_id),
                worker_id=worker_id,
                attempt=attempt,
                started_at=started_at,
                progress_json=progress_json,
            )
        )
    return counts, running
