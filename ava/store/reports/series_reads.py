"""Read the series of a tenant, a worker or a queue. The cost depends on the number of points, not on the jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ava.domain.series import Grid, Mark, MarkType
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.fleet.workers import IS_VISIBLE
from ava.store.reports.series import SUMS, by_bucket, latest

#: Pauses that were seen in the last rounds continue.
_CONTINUES = timedelta(minutes=3)
_MAX_MARKS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesProgress:
    #: Ended jobs before these times are counted, are in rows by minute, and in rows by hour; None: none are.
    counted_until: datetime
    stored_until: datetime | None
    summed_until: datetime | None
    now: datetime


_PROGRESS = Statement(f"""
SELECT p.counted_until, {latest("minute", "completed")} + interval '1 minute',
    {latest("hour", "completed")} + interval '1 hour', now()
FROM count_progress AS p
""")


def progress(connection: Connection) -> SeriesProgress:
    counted_until, stored_until, summed_until, now = connection.exec_driver_sql(_PROGRESS).one()
    return SeriesProgress(counted_until=counted_until, stored_until=stored_until, summed_until=summed_until, now=now)


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """The values of one worker, backlog or kind of failure in one step."""

    kind: str
    subject: str
    part: str
    starts_at: datetime
    completed: int | None
    failed: int | None
    cancelled: int | None
    wait_jobs: Sequence[int] | None
    run_jobs: Sequence[int] | None
    jobs: int | None
    max_jobs: int | None


_IN_STEP = "date_bin(%(step)s * interval '1 second', s.starts_at, %(since)s)"
# Rows by hour until `hours_until`, then rows by minute. Each part of the union is a few ranges of the primary key.
_SPANS = """(
        SELECT r.* FROM series AS r WHERE r.tenant_id = {tenant} AND r.span = 'hour' AND {condition}
            AND r.starts_at >= %(since)s AND r.starts_at < least(%(until)s::timestamptz, %(hours_until)s)
        UNION ALL
        SELECT r.* FROM series AS r WHERE r.tenant_id = {tenant} AND r.span = 'minute' AND {condition}
            AND r.starts_at >= greatest(%(since)s::timestamptz, %(hours_until)s) AND r.starts_at < %(until)s
    )"""
_OF_WORKERS = "r.kind IN ('worker', 'failures') AND r.subject = ANY(%(workers)s::text[])"
_OF_QUEUES = "r.kind = 'backlog' AND (%(queue)s::text IS NULL OR r.subject = %(queue)s)"
_READ = Statement(f"""
SELECT s.kind, s.subject, s.part, {_IN_STEP}, sum(s.completed)::bigint, sum(s.failed)::bigint,
    sum(s.cancelled)::bigint, {SUMS["wait_jobs"]}, {SUMS["run_jobs"]},
    (CASE s.kind WHEN 'failures' THEN sum(s.jobs) ELSE max(s.jobs) END)::bigint, max(s.max_jobs)
FROM (
    SELECT w.* FROM {_SPANS.format(tenant="%(tenant_id)s", condition=_OF_WORKERS)} AS w
    UNION ALL
    SELECT q.* FROM {_SPANS.format(tenant="%(tenant_id)s", condition=_OF_QUEUES)} AS q WHERE %(has_backlog)s
) AS s
GROUP BY 1, 2, 3, 4
""")


def read(
    connection: Connection, grid: Grid, *, hours_until: datetime, tenant_id: str, workers: Sequence[str], **chosen: Any
) -> list[Point]:
    """Return the points of workers ('' is all workers together) and, with `has_backlog`, of a queue or all queues."""
    parameters = _parameters(grid, hours_until) | {"tenant_id": tenant_id, "workers": list(workers)} | chosen
    return _points(connection.exec_driver_sql(_READ, parameters))


def _points(rows: Iterable[Sequence[Any]]) -> list[Point]:
    return [Point(**dict(zip(Point.__slots__, row, strict=True))) for row in rows]


# The jobs of the minutes that no round has stored yet.
_NEWEST = Statement(f"""
SELECT 'worker', %(subject)s, '', date_bin(%(step)s * interval '1 second', c.minute, %(since)s),
    coalesce(sum(c.jobs) FILTER (WHERE c.status = 'completed'), 0)::bigint,
    coalesce(sum(c.jobs) FILTER (WHERE c.status = 'failed'), 0)::bigint,
    coalesce(sum(c.jobs) FILTER (WHERE c.status = 'cancelled'), 0)::bigint,
    {by_bucket("wait_bucket")}, {by_bucket("run_bucket")}, NULL::bigint, NULL::bigint
FROM job_minutes AS c
WHERE c.minute >= greatest(%(since)s::timestamptz, %(stored_until)s) AND c.minute < %(until)s
    AND (c.tenant_id = %(tenant_id)s OR %(tenant_id)s = '*')
    AND (%(workers)s::text[] IS NULL OR c.worker_id = ANY(%(workers)s::text[]))
GROUP BY 4
""")


def newest(
    connection: Connection, grid: Grid, *, stored_until: datetime, tenant_id: str, workers: Sequence[str] | None
) -> list[Point]:
    """Return the ended jobs, of these workers or all (None), that are counted but not stored by a round."""
    parameters = {"step": grid.step_seconds, "since": grid.since, "until": grid.until, "stored_until": stored_until}
    parameters |= {"tenant_id": tenant_id, "subject": "" if workers is None else workers[0] if workers else ""}
    parameters["workers"] = None if workers is None else list(workers)
    return _points(connection.exec_driver_sql(_NEWEST, parameters))


_MEASURED = Statement(f"""
SELECT {_IN_STEP}, bool_or(s.completed IS NOT NULL), bool_or(s.jobs IS NOT NULL)
FROM {_SPANS.format(tenant="'*'", condition="r.kind = 'worker' AND r.subject = ''")} AS s
GROUP BY 1
""")


def measured(connection: Connection, grid: Grid, *, hours_until: datetime) -> tuple[set[datetime], set[datetime]]:
    """Return the steps with counted ended jobs, and the steps with a sample of running and waiting jobs."""
    found = connection.exec_driver_sql(_MEASURED, _parameters(grid, hours_until)).all()
    return {row[0] for row in found if row[1]}, {row[0] for row in found if row[2]}


def _parameters(grid: Grid, hours_until: datetime) -> dict[str, Any]:
    return {"step": grid.step_seconds, "since": grid.since, "until": grid.until, "hours_until": hours_until}


_MARKS = Statement(f"""
SELECT s.kind, s.part, s.subject, s.starts_at, s.ends_at FROM series AS s
WHERE s.tenant_id IN (%(tenant_id)s, '*') AND s.span = 'hour' AND s.kind IN ('deploy', 'pause')
    AND s.starts_at < %(until)s AND coalesce(s.ends_at, s.starts_at) >= %(since)s
    AND (s.part <> 'worker' OR %(workers)s::text[] IS NULL OR s.subject = ANY(%(workers)s::text[]))
    AND (s.part <> 'queue' OR s.subject = ANY(%(queues)s::text[]))
ORDER BY s.starts_at DESC LIMIT {_MAX_MARKS}
""")


def marks(
    connection: Connection,
    grid: Grid,
    *,
    now: datetime,
    tenant_id: str,
    workers: Sequence[str] | None,
    queues: Sequence[str],
) -> list[Mark]:
    """Return the deploys, and the pauses of these workers (None: all) and queues, oldest first."""
    parameters = {"since": grid.since, "until": grid.until, "tenant_id": tenant_id}
    parameters |= {"workers": None if workers is None else list(workers), "queues": list(queues)}
    found = connection.exec_driver_sql(_MARKS, parameters).all()
    return [
        Mark(
            type=MarkType.DEPLOY if kind == "deploy" else MarkType(f"{part}_pause"),
            name=name,
            starts_at=starts_at,
            ends_at=None if ends_at is None or ends_at > now - _CONTINUES else ends_at,
        )
        for kind, part, name, starts_at, ends_at in reversed(found)
    ]


_QUEUES = Statement(f"SELECT w.id, w.queue FROM workers AS w WHERE {IS_VISIBLE}")


def queues(connection: Connection, *, tenant_id: str) -> dict[str, str]:
    """Return the queue of each worker that a tenant can use."""
    return {row[0]: row[1] for row in connection.exec_driver_sql(_QUEUES, {"tenant_id": tenant_id})}
