"""Poll the feed's state: one read, several times per second, to decide which jobs to publish."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import IN_ORDER, WAITING_WINDOWS, Statement
from ava.store.fleet import nodes

#: Seconds between replans of a poll. Its indexes are fixed, so the plan does not depend on table sizes.
_PLAN_SECONDS = 10.0

_FIRST_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanFloor:
    """The index position of a window's first waiting jobs; entries before it belong to jobs that have moved on."""

    #: Lower bound of `published_at` of published jobs, as a string.
    published_at: str
    #: Lower bound of the ids of unpublished jobs.
    job_id: str
    #: Whether unpublished jobs of several tenants waited.
    has_several: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    queue: str
    priority: int
    #: Published but unstarted jobs, counted up to a limit.
    published: int
    #: Whether unpublished jobs wait.
    has_backlog: bool
    #: The tenant of all unpublished jobs; None if there are several or it is unknown.
    only_tenant: str | None = None
    #: Whether unpublished jobs wait and the window has jobs of several tenants.
    is_shared: bool = False
    #: Where to start reading this window; None: at its first index entry.
    floor: ScanFloor | None = None

    @property
    def name(self) -> str:
        """Return the key of the window in the dispatcher's state."""
        return f"{self.queue}:{self.priority}"


@dataclass(frozen=True, kw_only=True)
class Poll:
    """The state of all windows and the facts for publishing decisions, at one time."""

    windows: Sequence[Window]
    paused: frozenset[str]
    #: Windows into which the API must not publish, each as `queue:priority`.
    closed: frozenset[str]
    #: Processes of live nodes per queue; a process may serve several queues.
    processes: Mapping[str, int]
    #: Limit keys with waiting jobs, in order, starting behind a given key.
    limit_keys: Sequence[str]
    #: False if windows of pulled jobs may be missing.
    is_complete: bool = True


_LIMIT_KEYS = """keys AS (
    (SELECT limit_key FROM jobs
     WHERE status = 'queued' AND waits_for = 'permit' AND limit_key IS NOT NULL AND limit_key > %(after_key)s
     ORDER BY limit_key LIMIT 1)
    UNION ALL
    SELECT next.limit_key FROM keys AS k CROSS JOIN LATERAL (
        SELECT j.limit_key FROM jobs AS j
        WHERE j.status = 'queued' AND j.waits_for = 'permit' AND j.limit_key IS NOT NULL AND j.limit_key > k.limit_key
        ORDER BY j.limit_key LIMIT 1) AS next
)"""

# The published jobs of a window. The next poll starts at `floor`, at least 1 s before now, because a job becomes
# visible only when its publishing transaction ends.
_PUBLISHED = """count(*) AS jobs, min(tenant_id) AS first, max(tenant_id) AS last,
                least(min(published_at), now() - interval '1 second') AS floor"""

# Conditions: the job `j` waits in the window `w`; it is in the window's backlog.
_WAITS = "j.queue = w.queue AND j.priority = w.priority AND j.status = 'queued' AND j.waits_for IS NULL"
_IN_BACKLOG = f"{_WAITS} AND j.published_at IS NULL"

# A loose index scan finds each window and key, so the cost depends on windows with jobs, not on the queues that workers
# name. Published jobs are counted up to the window size. Other tenants are found before and after the tenant of the
# backlog's first job, in the order of `jobs_backlog`: for an EXISTS the planner may scan the table once per window.
# While a long-running transaction (a dump, say) blocks vacuum, index entries of jobs that have moved on remain, and a
# scan checks each against its row. So a poll of known windows starts at the first job that the previous poll found.
_READ = Prepared(
    "read_poll",
    f"""
WITH RECURSIVE {WAITING_WINDOWS}, windows AS (
    SELECT * FROM unnest(%(queues)s::text[], %(priorities)s::smallint[], %(published)s::timestamptz[],
        %(job_ids)s::uuid[], %(several)s::bool[]) AS k (queue, priority, published_at, job_id, has_several)
    UNION ALL
    SELECT queue, priority, '-infinity', '{_FIRST_ID}', false FROM waiting WHERE %(finds_windows)s
), {_LIMIT_KEYS}
SELECT
    ARRAY(
        SELECT json_build_array(w.queue, w.priority, published.jobs, published.first, published.last,
            backlog.tenant_id, w.has_several OR (
                SELECT true FROM jobs AS j WHERE {_IN_BACKLOG} AND j.tenant_id < backlog.tenant_id
                ORDER BY j.queue, j.priority, j.tenant_id LIMIT 1
            ) IS NOT NULL OR (
                SELECT true FROM jobs AS j WHERE {_IN_BACKLOG} AND j.tenant_id > backlog.tenant_id
                ORDER BY j.queue DESC, j.priority DESC, j.tenant_id DESC LIMIT 1
            ) IS NOT NULL,
            published.floor, least(backlog.id, (lpad(to_hex(
                (extract(epoch FROM now() - interval '1 second') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid))
        FROM windows AS w CROSS JOIN LATERAL (
            SELECT {_PUBLISHED} FROM (
                SELECT j.tenant_id, j.published_at FROM jobs AS j WHERE {_WAITS} AND j.published_at >= w.published_at
                ORDER BY j.queue, j.priority, j.published_at, j.id LIMIT %(count_up_to)s) AS counted
        ) AS published LEFT JOIN LATERAL (
            SELECT j.id, j.tenant_id FROM jobs AS j WHERE {_IN_BACKLOG} AND j.id >= w.job_id
            ORDER BY j.queue, j.priority, j.published_at, j.id LIMIT 1) AS backlog ON true),
    ARRAY(SELECT queue FROM queues WHERE paused_at IS NOT NULL),
    ARRAY(SELECT queue || ':' || priority FROM closed_windows),
    ARRAY(
        SELECT json_build_array(q.queue, sum(n.processes))
        FROM nodes AS n CROSS JOIN unnest(n.queues) AS q (queue)
        WHERE {nodes.IS_LIVE} GROUP BY q.queue),
    ARRAY(SELECT limit_key FROM keys LIMIT %(max_keys)s)
""",
    plan_seconds=_PLAN_SECONDS,
)


def read(
    connection: Connection,
    known: Mapping[tuple[str, int], ScanFloor] | None = None,
    *,
    count_up_to: int,
    dead_after_seconds: float,
    after_key: str = "",
    max_keys: int = 0,
) -> Poll:
    """Return the state of all windows with waiting jobs, with published jobs counted up to a limit.

    `known`: read only these windows (queue, priority), from the floors of the previous poll. The result then includes
    windows without waiting jobs, and misses jobs that returned to a position before the floor.
    """
    floors = known or {}
    parameters = {
        "finds_windows": known is None,
        "queues": [queue for queue, _ in floors],
        "priorities": [priority for _, priority in floors],
        "published": [floor.published_at for floor in floors.values()],
        "job_ids": [floor.job_id for floor in floors.values()],
        "several": [floor.has_several for floor in floors.values()],
        "count_up_to": count_up_to,
        "dead_after": dead_after_seconds,
        "after_key": after_key,
        "max_keys": max_keys,
    }
    (row,) = _READ.run(connection, parameters, before=IN_ORDER)
    windows, paused, closed, processes, limit_keys = row
    return Poll(
        windows=[_window(*fields) for fields in windows],
        paused=frozenset(paused),
        closed=frozenset(closed),
        processes=dict(processes),
        limit_keys=limit_keys,
    )


def _window(
    queue: str,
    priority: int,
    published: int,
    first_published: str | None,
    last_published: str | None,
    tenant_id: str | None,
    has_several: bool,
    published_at: str,
    job_id: str,
) -> Window:
    has_backlog = tenant_id is not None
    return Window(
        queue=queue,
        priority=priority,
        published=published,
        has_backlog=has_backlog,
        only_tenant=None if has_several else tenant_id,
        is_shared=has_backlog and (has_several or len({first_published, last_published, tenant_id} - {None}) > 1),
        floor=ScanFloor(published_at=published_at, job_id=job_id, has_several=has_several),
    )


_WRITE_CLOSED = Statement("""
WITH closed AS (
    SELECT * FROM unnest(%(queues)s::text[], %(priorities)s::smallint[]) AS n (queue, priority)
), opened AS (
    DELETE FROM closed_windows AS c
    WHERE NOT EXISTS (SELECT 1 FROM closed AS n WHERE (n.queue, n.priority) = (c.queue, c.priority))
)
INSERT INTO closed_windows (queue, priority) SELECT queue, priority FROM closed ON CONFLICT DO NOTHING
""")


def write_closed(connection: Connection, closed: Collection[tuple[str, int]]) -> None:
    """Store the windows (queue, priority) into which the API must not publish."""
    parameters = {"queues": [queue for queue, _ in closed], "priorities": [number for _, number in closed]}
    connection.exec_driver_sql(_WRITE_CLOSED, parameters)
