"""Looks: what the feed reads at once, a few times each second, to decide what is published next."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ava.store.engine.database import Connection
from ava.store.engine.plans import IN_ORDER, WAITING_WINDOWS
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement
from ava.store.fleet import nodes

#: Seconds after which a look is planned anew. Its indexes are fixed, so a plan does not depend on the sizes of tables.
_PLAN_SECONDS = 10.0

_FIRST_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanFloor:
    """Where the waiting jobs of one window begin in the indexes; before them are those of jobs that have moved on."""

    #: No published job was published before. The text of a time.
    published_at: str
    #: No unpublished job had a smaller id.
    job_id: str
    #: True if unpublished jobs of several tenants waited.
    has_several: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The waiting jobs of one queue and one priority."""

    queue: str
    priority: int
    #: The number of published jobs that have not started, counted up to a limit.
    published: int
    #: True if more jobs wait unpublished.
    has_backlog: bool
    #: The tenant of all jobs that wait unpublished; None if there are several, or it is not known.
    only_tenant: str | None = None
    #: True if jobs wait unpublished, and jobs of several tenants wait.
    is_shared: bool = False
    #: Where this window is read from; None: from its first entry in the indexes.
    floor: ScanFloor | None = None

    @property
    def name(self) -> str:
        """Returns the name by which the dispatcher keeps what it knows of the window."""
        return f"{self.queue}:{self.priority}"


@dataclass(frozen=True, kw_only=True)
class Look:
    """The state of all windows, and what decides about them, at one moment."""

    windows: Sequence[Window]
    #: The paused queues.
    paused: frozenset[str]
    #: The windows that take no more messages from the API, each as `queue:priority`.
    closed: frozenset[str]
    #: The processes of live nodes that serve a queue, by queue; one process may serve several.
    processes: Mapping[str, int]
    #: Keys of limits for which jobs wait, in their order, from the one that follows a given key.
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

# What a look reads of published jobs. The next one begins there, but a second before now at the latest, because
# a job is seen only when the transaction that has published it ends.
_PUBLISHED = """count(*) AS jobs, min(tenant_id) AS first, max(tenant_id) AS last,
                least(min(published_at), now() - interval '1 second') AS floor"""

# A condition: the job `j` waits in the window `w`; and it is in the window's backlog.
_WAITS = "j.queue = w.queue AND j.priority = w.priority AND j.status = 'queued' AND j.waits_for IS NULL"
_IN_BACKLOG = f"{_WAITS} AND j.published_at IS NULL"

# Each window, and each key, is found by one step in an index (a loose index scan), so the cost grows with those that
# have jobs, not with the queues that workers name. Published jobs are counted up to the size of a window, which has no
# space for more. Other tenants are looked for before and after the tenant of the backlog's first job, in the order of
# `jobs_backlog`: for an EXISTS the planner may scan the table once for each window without one.
#
# While a snapshot is held (by a dump, say), the entries of jobs that have moved on stay in the indexes, and a scan
# compares each with its row. So a look at known windows begins in each of them where the look before has found the
# first job, and passes no entry before.
_READ = Prepared(
    "read_look",
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
    ARRAY(SELECT queue FROM paused_queues),
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
) -> Look:
    """Return every window that has waiting jobs, its published ones counted up to a limit, and the rest of a look.

    `known`: only read these windows (queue, priority), from the floors that the look before returned. Windows without
    waiting jobs are among them. A job that has come back since from before the floor of its window is not seen.
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
    return Look(
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
    """Store which windows take no more messages from the API, each as its queue and priority."""
    parameters = {"queues": [queue for queue, _ in closed], "priorities": [number for _, number in closed]}
    connection.exec_driver_sql(_WRITE_CLOSED, parameters)
