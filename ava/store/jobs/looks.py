"""Looks: what the feed reads at once, a few times each second, to decide what is published next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ava.store.engine.database import Connection
from ava.store.engine.plans import IN_ORDER, WAITING_WINDOWS
from ava.store.engine.statement import Statement

__all__ = ["Look", "Window", "read"]


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

    @property
    def name(self) -> str:
        """Returns the name that `closed_windows` and `client_moves.insert` use."""
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
    #: The queues all of whose live nodes take messages that stand for several jobs.
    take_groups: frozenset[str]
    #: Keys of limits for which jobs wait, in their order, from the one that follows a given key.
    held_keys: Sequence[str]


# Each window, and each key, is found by one step in an index (a loose index scan), so the cost grows with those that
# have jobs, not with the queues that workers name. Published jobs are counted up to the size of a window, which has no
# space for more. The backlog is asked for its first tenant and its last one, in the order of `jobs_backlog`: for an
# EXISTS the planner may scan the table once for each window without one.
_READ = Statement(f"""{IN_ORDER}
WITH RECURSIVE {WAITING_WINDOWS}, held AS (
    (SELECT limit_key FROM jobs
     WHERE status = 'queued' AND run_at = 'infinity' AND limit_key IS NOT NULL AND limit_key > %(after_key)s
     ORDER BY limit_key LIMIT 1)
    UNION ALL
    SELECT next.limit_key FROM held AS h CROSS JOIN LATERAL (
        SELECT j.limit_key FROM jobs AS j
        WHERE j.status = 'queued' AND j.run_at = 'infinity' AND j.limit_key IS NOT NULL AND j.limit_key > h.limit_key
        ORDER BY j.limit_key LIMIT 1) AS next
)
SELECT
    ARRAY(
        SELECT json_build_array(w.queue, w.priority, published.jobs, published.first, published.last, (
                SELECT j.tenant_id FROM jobs AS j
                WHERE j.queue = w.queue AND j.priority = w.priority AND j.status = 'queued' AND j.run_at IS NULL
                    AND j.published_at IS NULL
                ORDER BY j.queue, j.priority, j.tenant_id LIMIT 1
            ), (
                SELECT j.tenant_id FROM jobs AS j
                WHERE j.queue = w.queue AND j.priority = w.priority AND j.status = 'queued' AND j.run_at IS NULL
                    AND j.published_at IS NULL
                ORDER BY j.queue DESC, j.priority DESC, j.tenant_id DESC LIMIT 1
            ))
        FROM waiting AS w CROSS JOIN LATERAL (
            SELECT count(*) AS jobs, min(tenant_id) AS first, max(tenant_id) AS last FROM (
                SELECT j.tenant_id FROM jobs AS j
                WHERE j.queue = w.queue AND j.priority = w.priority AND j.status = 'queued' AND j.run_at IS NULL
                    AND j.published_at IS NOT NULL
                ORDER BY j.queue, j.priority, j.published_at, j.id LIMIT %(count_up_to)s) AS counted
        ) AS published),
    ARRAY(SELECT queue FROM paused_queues),
    ARRAY(SELECT queue || ':' || priority FROM closed_windows),
    ARRAY(
        SELECT json_build_array(q.queue, sum(n.processes), bool_and(n.takes_groups))
        FROM nodes AS n CROSS JOIN unnest(n.queues) AS q (queue)
        WHERE n.stopped_at IS NULL AND n.seen_at > now() - %(dead_after)s * interval '1 second' GROUP BY q.queue),
    ARRAY(SELECT limit_key FROM held LIMIT %(most_keys)s)
""")


def read(
    connection: Connection, *, count_up_to: int, dead_after_seconds: float, after_key: str = "", most_keys: int = 0
) -> Look:
    """Returns every window that has waiting jobs, its published ones counted up to a limit, and the rest of a look."""
    parameters = {
        "count_up_to": count_up_to,
        "dead_after": dead_after_seconds,
        "after_key": after_key,
        "most_keys": most_keys,
    }
    windows, paused, closed, processes, held_keys = connection.exec_driver_sql(_READ, parameters).one()
    return Look(
        windows=[_window(*window) for window in windows],
        paused=frozenset(paused),
        closed=frozenset(closed),
        processes={queue: count for queue, count, _ in processes},
        take_groups=frozenset(queue for queue, _, take_groups in processes if take_groups),
        held_keys=held_keys,
    )


def _window(
    queue: str,
    priority: int,
    published: int,
    first_published: str | None,
    last_published: str | None,
    first: str | None,
    last: str | None,
) -> Window:
    tenants = {first_published, last_published, first, last} - {None}
    return Window(
        queue=queue,
        priority=priority,
        published=published,
        has_backlog=first is not None,
        only_tenant=first if first == last else None,
        is_shared=first is not None and len(tenants) > 1,
    )
