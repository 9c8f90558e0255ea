"""Looks: what the feed reads at once, a few times each second, to decide what is published next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ava.store.engine.database import Connection
from ava.store.engine.plans import IN_ORDER, WAITING_WINDOWS
from ava.store.engine.prepared import Prepared
from ava.store.fleet import nodes

#: Seconds after which a look is planned anew. Its indexes are fixed, so a plan does not depend on the sizes of tables.
_PLAN_SECONDS = 10.0

_FIRST_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanFloor:
    """Where the waiting jobs of one window begin in the indexes; before them are those of jobs that have moved on."""

    #: No published job was published before. The text of a time.
    published_at: str
    #: No unpublished job had a smaller id; None if it is not known.
    job_id: str | None
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
    #: Where the next look at this window may begin; None if it was not read.
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

# What a look reads beside the windows.
_REST = f"""
    ARRAY(SELECT queue FROM paused_queues),
    ARRAY(SELECT queue || ':' || priority FROM closed_windows),
    ARRAY(
        SELECT json_build_array(q.queue, sum(n.processes))
        FROM nodes AS n CROSS JOIN unnest(n.queues) AS q (queue)
        WHERE {nodes.IS_LIVE} GROUP BY q.queue),
    ARRAY(SELECT limit_key FROM keys LIMIT %(max_keys)s)
"""

# What a look reads of published jobs. The next one begins there, but a second before now at the latest, because
# a job is seen only when the transaction that has published it ends.
_PUBLISHED = """count(*) AS jobs, min(tenant_id) AS first, max(tenant_id) AS last,
                least(min(published_at), now() - interval '1 second') AS floor"""

# A condition: the job `j` waits in the window `w`; and it is in the window's backlog.
_WAITS = "j.queue = w.queue AND j.priority = w.priority AND j.status = 'queued' AND j.waits_for IS NULL"
_IN_BACKLOG = f"{_WAITS} AND j.published_at IS NULL"

# Each window, and each key, is found by one step in an index (a loose index scan), so the cost grows with those that
# have jobs, not with the queues that workers name. Published jobs are counted up to the size of a window, which has no
# space for more. The backlog is asked for its first tenant and its last one, in the order of `jobs_backlog`: for an
# EXISTS the planner may scan the table once for each window without one.
_READ = Prepared(
    "read_look",
    f"""
WITH RECURSIVE {WAITING_WINDOWS}, {_LIMIT_KEYS}
SELECT
    ARRAY(
        SELECT json_build_array(w.queue, w.priority, published.jobs, published.first, published.last, (
                SELECT j.tenant_id FROM jobs AS j WHERE {_IN_BACKLOG}
                ORDER BY j.queue, j.priority, j.tenant_id LIMIT 1
            ), (
                SELECT j.tenant_id FROM jobs AS j WHERE {_IN_BACKLOG}
                ORDER BY j.queue DESC, j.priority DESC, j.tenant_id DESC LIMIT 1
            ), published.floor)
        FROM waiting AS w CROSS JOIN LATERAL (
            SELECT {_PUBLISHED} FROM (
                SELECT j.tenant_id, j.published_at FROM jobs AS j WHERE {_WAITS} AND j.published_at IS NOT NULL
                ORDER BY j.queue, j.priority, j.published_at, j.id LIMIT %(count_up_to)s) AS counted
        ) AS published),{_REST}""",
    plan_seconds=_PLAN_SECONDS,
)

# While a snapshot is held (by a dump, say), the entries of jobs that have moved on stay in the indexes, and a scan
# compares each with its row. So this statement begins in each window where the look before has found the first job,
# and passes no entry before. Other tenants are looked for before and after the tenant of the first job.
_READ_KNOWN = Prepared(
    "read_known",
    f"""
WITH RECURSIVE known AS (
    SELECT * FROM unnest(%(queues)s::text[], %(priorities)s::smallint[], %(published)s::timestamptz[],
        %(job_ids)s::uuid[], %(several)s::bool[]) AS k (queue, priority, published_at, job_id, has_several)
), {_LIMIT_KEYS}
SELECT
    ARRAY(
        SELECT json_build_array(w.queue, w.priority, published.jobs, published.first, published.last,
            CASE WHEN w.has_several THEN backlog.tenant_id ELSE coalesce((
                SELECT j.tenant_id FROM jobs AS j WHERE {_IN_BACKLOG} AND j.tenant_id < backlog.tenant_id
                ORDER BY j.queue, j.priority, j.tenant_id LIMIT 1
            ), backlog.tenant_id) END,
            CASE WHEN w.has_several THEN backlog.tenant_id ELSE coalesce((
                SELECT j.tenant_id FROM jobs AS j WHERE {_IN_BACKLOG} AND j.tenant_id > backlog.tenant_id
                ORDER BY j.queue DESC, j.priority DESC, j.tenant_id DESC LIMIT 1
            ), backlog.tenant_id) END,
            published.floor, least(backlog.id, (lpad(to_hex(
                (extract(epoch FROM now() - interval '1 second') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid))
        FROM known AS w CROSS JOIN LATERAL (
            SELECT {_PUBLISHED} FROM (
                SELECT j.tenant_id, j.published_at FROM jobs AS j WHERE {_WAITS} AND j.published_at >= w.published_at
                ORDER BY j.queue, j.priority, j.published_at, j.id LIMIT %(count_up_to)s) AS counted
        ) AS published LEFT JOIN LATERAL (
            SELECT j.id, j.tenant_id FROM jobs AS j WHERE {_IN_BACKLOG} AND j.id >= w.job_id
            ORDER BY j.queue, j.priority, j.published_at, j.id LIMIT 1) AS backlog ON true),{_REST}""",
    plan_seconds=_PLAN_SECONDS,
)


def read(
    connection: Connection, *, count_up_to: int, dead_after_seconds: float, after_key: str = "", max_keys: int = 0
) -> Look:
    """Returns every window that has waiting jobs, its published ones counted up to a limit, and the rest of a look."""
    parameters = _parameters(count_up_to, dead_after_seconds, after_key, max_keys)
    (row,) = _READ.run(connection, parameters, before=IN_ORDER)
    return _look(row, {})


def read_known(
    connection: Connection,
    known: Mapping[tuple[str, int], ScanFloor],
    *,
    count_up_to: int,
    dead_after_seconds: float,
    after_key: str = "",
    max_keys: int = 0,
) -> Look:
    """Returns the same of known windows (queue, priority) alone, from the floors that the look before returned.

    Windows without waiting jobs are among them. A job that has come back since from before the floor of its window
    is not seen.
    """
    parameters = _parameters(count_up_to, dead_after_seconds, after_key, max_keys) | {
        "queues": [queue for queue, _ in known],
        "priorities": [priority for _, priority in known],
        "published": [floor.published_at for floor in known.values()],
        "job_ids": [floor.job_id or _FIRST_ID for floor in known.values()],
        "several": [floor.has_several for floor in known.values()],
    }
    (row,) = _READ_KNOWN.run(connection, parameters, before=IN_ORDER)
    return _look(row, known)


def _parameters(count_up_to: int, dead_after_seconds: float, after_key: str, max_keys: int) -> dict[str, Any]:
    return {
        "count_up_to": count_up_to,
        "dead_after": dead_after_seconds,
        "after_key": after_key,
        "max_keys": max_keys,
    }


def _look(row: Sequence[Any], known: Mapping[tuple[str, int], ScanFloor]) -> Look:
    windows, paused, closed, processes, limit_keys = row
    return Look(
        windows=[_window(known.get((window[0], window[1])), window) for window in windows],
        paused=frozenset(paused),
        closed=frozenset(closed),
        processes=dict(processes),
        limit_keys=limit_keys,
    )


def _window(known: ScanFloor | None, fields: Sequence[Any]) -> Window:
    queue, priority, published, first_published, last_published, first, last, published_at, *job_id = fields
    has_backlog = first is not None
    has_several = (known is not None and known.has_several) or first != last
    return Window(
        queue=queue,
        priority=priority,
        published=published,
        has_backlog=has_backlog,
        only_tenant=None if has_several else first,
        is_shared=has_backlog and (has_several or len({first_published, last_published, first} - {None}) > 1),
        floor=ScanFloor(published_at=published_at, job_id=job_id[0] if job_id else None, has_several=has_several),
    )
