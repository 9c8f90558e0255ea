"""Nodes as operators see them, each with the jobs that it runs for one tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ava.domain.counts import MAX_IN_TOTAL
from ava.domain.fleet import NodeView, RunningJob
from ava.store import pause_columns
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement

#: Max jobs per node.
_MAX_JOBS = 50
#: A node is shown as refusing messages for this number of seconds after its last refusal. A waiting job's message
#: returns within 30 s.
_REFUSED_SECONDS = 60.0


_ROWS = RecordRows(
    NodeView,
    "n",
    columns={
        "state": """CASE WHEN n.stopped_at IS NOT NULL THEN 'stopped'
         WHEN n.seen_at > now() - %(dead_after)s * interval '1 second' THEN 'live' ELSE 'silent' END""",
        "refused_messages": """CASE WHEN n.refused_messages_at > now() - %(refused)s * interval '1 second'
         THEN n.refused_messages ELSE '{}' END""",
        "paused": pause_columns.column("n"),
    },
    readers={"paused": pause_columns.read},
    without=("busy_of_tenant", "jobs"),
)
# A tenant sees nodes that have one of its workers or still run one of its jobs.
_MATCHES = """(%(node_id)s::uuid IS NULL OR n.id = %(node_id)s::uuid)
    AND (%(is_paused)s::bool IS NULL OR %(is_paused)s = (n.paused_at IS NOT NULL))
    AND (%(has_all)s OR n.workers && ARRAY(
            SELECT w.id FROM workers AS w
            WHERE w.tenant_id = '*' AND (w.tenants IS NULL OR %(tenant_id)s = ANY(w.tenants)))
        OR EXISTS (
            SELECT FROM jobs AS j WHERE j.node_id = n.id AND j.status = 'running' AND j.tenant_id = %(tenant_id)s))"""
# A node that stops between two pages moves behind the live ones, so it may be listed twice but is not left out.
_PAGE = Statement(f"""
SELECT {_ROWS.columns} FROM nodes AS n
WHERE {_MATCHES} AND ((n.stopped_at IS NOT NULL) > %(after_stopped)s
    OR (n.stopped_at IS NOT NULL) = %(after_stopped)s AND n.id < %(after)s::uuid)
ORDER BY n.stopped_at IS NOT NULL, n.id DESC LIMIT %(limit)s OFFSET %(offset)s
""")
_COUNT = Statement(f"SELECT count(*) FROM (SELECT FROM nodes AS n WHERE {_MATCHES} LIMIT {MAX_IN_TOTAL}) AS counted")
_LAST_UUID = "ffffffff-ffff-ffff-ffff-ffffffffffff"


@dataclass(frozen=True, kw_only=True)
class NodeFilter:
    """The nodes to read for a caller of a tenant."""

    tenant_id: str
    #: False: only the nodes that the tenant can use.
    has_all: bool
    #: Only paused nodes, or only others; None: all.
    is_paused: bool | None = None
    #: The UUID of the only node.
    node_id: str | None = None


_JOB_ROWS = RecordRows(RunningJob, "j")
_JOBS = Statement(f"""
SELECT {_JOB_ROWS.columns}, n.id::text, j.running
FROM unnest(%(nodes)s::uuid[]) AS n (id) CROSS JOIN LATERAL (
    SELECT *, count(*) OVER () AS running FROM jobs
    WHERE node_id = n.id AND status = 'running' AND tenant_id = %(tenant_id)s
    ORDER BY started_at LIMIT %(limit)s
) AS j
""")


_VISIBLE_WORKERS = Statement("""
SELECT id, queue FROM workers
WHERE tenant_id = '*' AND id = ANY(%(workers)s::text[]) AND (tenants IS NULL OR %(tenant_id)s = ANY(tenants))
""")


def only_visible(connection: Connection, views: list[NodeView], *, tenant_id: str) -> list[NodeView]:
    """Return nodes restricted to a tenant's workers, their queues, and its jobs.

    Hides facts about the machines and other tenants' jobs.
    """
    named = sorted({worker for view in views for worker in view.workers})
    found = connection.exec_driver_sql(_VISIBLE_WORKERS, {"workers": named, "tenant_id": tenant_id})
    queues = {row.id: row.queue for row in found}
    return [_visible(view, queues) for view in views]


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
        workers=workers,
        queues=[queue for queue in view.queues if queue in shown],
        refused_queues=[queue for queue in view.refused_queues if queue in shown],
    )


def page(
    connection: Connection,
    wanted: NodeFilter,
    *,
    dead_after_seconds: float,
    limit: int,
    offset: int = 0,
    after: tuple[bool, str] | None = None,
) -> list[NodeView]:
    """Return nodes, the newest first and stopped ones last. A stopped node keeps its row for an hour.

    `after`: whether the last node before the page had stopped, and its UUID.
    """
    after_stopped, after_id = after or (False, _LAST_UUID)
    parameters = vars(wanted) | {
        "dead_after": dead_after_seconds,
        "refused": _REFUSED_SECONDS,
        "after_stopped": after_stopped,
        "after": after_id,
        "limit": limit,
        "offset": offset,
    }
    found = list(connection.exec_driver_sql(_PAGE, parameters))
    counts, running = _running(connection, wanted.tenant_id, [row[0] for row in found])
    return [_ROWS.read(row, busy_of_tenant=counts.get(row[0], 0), jobs=running.get(row[0], [])) for row in found]


def count(connection: Connection, wanted: NodeFilter) -> int:
    """Return the number of nodes, counted up to `MAX_IN_TOTAL`."""
    return int(connection.exec_driver_sql(_COUNT, vars(wanted)).scalar_one())


def _running(
    connection: Connection, tenant_id: str, node_ids: list[str]
) -> tuple[dict[str, int], dict[str, list[RunningJob]]]:
    """Return the number of a tenant's jobs on each node, and the oldest of them, by the node's UUID."""
    parameters = {"nodes": node_ids, "tenant_id": tenant_id, "limit": _MAX_JOBS}
    counts: dict[str, int] = {}
    running: dict[str, list[RunningJob]] = {}
    for row in connection.exec_driver_sql(_JOBS, parameters):
        node_id, count = row[_JOB_ROWS.count :]
        counts[node_id] = count
        running.setdefault(node_id, []).append(_JOB_ROWS.read(row))
    return counts, running
