"""What a tenant sees at a glance. Every statement is bounded, whatever the number of its jobs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from ava.domain import ids
from ava.domain.job import Trigger
from ava.store.engine import clock
from ava.store.engine.database import Connection

__all__ = ["MOST_COUNTED_OF_TRIGGER", "Depth", "Latency", "Minute", "Overview", "read"]

#: Waiting jobs are counted up to this many for each priority and trigger; then the number is a lower bound.
MOST_COUNTED_OF_TRIGGER = 20_000
#: How many of the newest finished jobs the percentiles are taken of, for each state and trigger.
_SAMPLE = 500
_WINDOW = timedelta(minutes=60)


@dataclass(frozen=True, kw_only=True)
class Depth:
    """How many jobs of one priority wait."""

    priority: int
    queued: int


@dataclass(frozen=True, kw_only=True)
class Minute:
    """What ended in one minute."""

    minute: datetime
    completed: int
    failed: int
    cancelled: int


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Percentiles of the newest jobs of the last hour, in milliseconds; None where there is none."""

    sampled: int
    #: From being due to the handler's start, of jobs that started once.
    start_p50_ms: float | None
    start_p95_ms: float | None
    #: From the handler's start to its end.
    run_p50_ms: float | None
    run_p95_ms: float | None


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A tenant's jobs at one moment of the database's clock."""

    queued: int
    #: False where `queued` is a lower bound.
    queued_is_exact: bool
    #: How many of the queued wait for their time.
    scheduled: int
    running: int
    by_priority: list[Depth]
    #: Since when the oldest job waits that could start; None where none does.
    oldest_due_at: datetime | None
    latency: Latency
    #: The last hour, oldest first, one for each minute.
    minutes: list[Minute]
    #: Up to when ended jobs stand in `minutes`.
    counted_until: datetime
    sampled_at: datetime

    @property
    def backlog_age_seconds(self) -> float | None:
        """For how long the oldest job waits that could start."""
        if self.oldest_due_at is None:
            return None
        return max(0.0, round((self.sampled_at - self.oldest_due_at).total_seconds(), 3))


def read(connection: Connection, *, tenant_id: str) -> Overview:
    """Read a tenant's overview."""
    now = clock.now(connection)
    waiting, is_exact = _waiting(connection, tenant_id)
    minutes, counted_until = _minutes(connection, tenant_id, now)
    return Overview(
        queued=sum(depth.queued for depth, _ in waiting.values()),
        queued_is_exact=is_exact,
        scheduled=sum(scheduled for _, scheduled in waiting.values()),
        running=_running(connection, tenant_id),
        by_priority=[depth for depth, _ in waiting.values()],
        oldest_due_at=_oldest_due(connection, tenant_id),
        latency=_latency(connection, tenant_id, now),
        minutes=minutes,
        counted_until=counted_until,
        sampled_at=now,
    )


_TRIGGERS = "unnest(%(triggers)s::text[]) AS t (trigger)"
# A stretch of `jobs_by_status` in its own order. Written as rows, for with equalities the planner may think the primary
# key as good, and walk it over all jobs there are in search of a state that has none.
_PLACE = "(j.tenant_id, j.status, j.trigger, j.id)"
_STRETCH = f"""{_PLACE} >= (%(tenant_id)s, {{status}}, t.trigger, %(floor)s::uuid)
    AND {_PLACE} <= (%(tenant_id)s, {{status}}, t.trigger, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
    ORDER BY j.tenant_id {{order}}, j.status {{order}}, j.trigger {{order}}, j.id {{order}}"""
_EVER = "00000000-0000-0000-0000-000000000000"

_WAITING = f"""
SELECT t.trigger, q.priority, count(*), count(q.run_at)
FROM {_TRIGGERS} CROSS JOIN LATERAL (
    SELECT j.priority, j.run_at FROM jobs AS j
    WHERE {_STRETCH.format(status="'queued'", order="")} LIMIT %(most)s + 1
) AS q GROUP BY 1, 2
"""


def _waiting(connection: Connection, tenant_id: str) -> tuple[dict[int, tuple[Depth, int]], bool]:
    """What waits by priority, with how much of it is scheduled; and whether all of it was counted."""
    queued, dated, by_trigger = Counter[int](), Counter[int](), Counter[str]()
    for trigger, priority, count, scheduled in connection.exec_driver_sql(
        _WAITING, _of(tenant_id) | {"most": MOST_COUNTED_OF_TRIGGER}
    ):
        queued[priority] += count
        dated[priority] += scheduled
        by_trigger[trigger] += count
    waiting = {number: (Depth(priority=number, queued=queued[number]), dated[number]) for number in range(1, 11)}
    return waiting, all(count <= MOST_COUNTED_OF_TRIGGER for count in by_trigger.values())


_RUNNING = f"""
SELECT count(*) FROM {_TRIGGERS} CROSS JOIN LATERAL (
    SELECT 1 FROM jobs AS j WHERE {_STRETCH.format(status="'running'", order="")} LIMIT %(most)s
) AS r
"""


def _running(connection: Connection, tenant_id: str) -> int:
    return int(connection.exec_driver_sql(_RUNNING, _of(tenant_id) | {"most": MOST_COUNTED_OF_TRIGGER}).scalar_one())


# Ids are in the order of creation, so the oldest due job is among the first, unless they all wait for their time.
_OLDEST_DUE = f"""
SELECT min(greatest(q.created_at, q.scheduled_at)) FROM {_TRIGGERS} CROSS JOIN LATERAL (
    SELECT j.created_at, j.scheduled_at, j.run_at FROM jobs AS j
    WHERE {_STRETCH.format(status="'queued'", order="")} LIMIT %(most)s
) AS q WHERE q.run_at IS NULL
"""


def _oldest_due(connection: Connection, tenant_id: str) -> datetime | None:
    moment: datetime | None = connection.exec_driver_sql(
        _OLDEST_DUE, _of(tenant_id) | {"most": _SAMPLE * 4}
    ).scalar_one()
    return moment


_LATENCY = f"""
SELECT count(*),
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
        ORDER BY extract(epoch FROM d.started_at - greatest(d.created_at, d.scheduled_at)) * 1000)
        FILTER (WHERE d.attempt = 1 AND d.losses = 0),
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM d.completed_at - d.started_at) * 1000)
FROM {_TRIGGERS} CROSS JOIN unnest(ARRAY['completed', 'failed']) AS s (status) CROSS JOIN LATERAL (
    SELECT j.created_at, j.scheduled_at, j.started_at, j.completed_at, j.attempt, j.losses FROM jobs AS j
    WHERE {_STRETCH.format(status="s.status", order="DESC")} LIMIT %(sample)s
) AS d WHERE d.started_at IS NOT NULL
"""


def _latency(connection: Connection, tenant_id: str, now: datetime) -> Latency:
    parameters = _of(tenant_id) | {"sample": _SAMPLE, "floor": str(ids.first_uuid(now - _WINDOW))}
    sampled, start, run = connection.exec_driver_sql(_LATENCY, parameters).one()
    start_p50, start_p95 = start or (None, None)
    run_p50, run_p95 = run or (None, None)
    return Latency(
        sampled=sampled,
        start_p50_ms=_rounded(start_p50),
        start_p95_ms=_rounded(start_p95),
        run_p50_ms=_rounded(run_p50),
        run_p95_ms=_rounded(run_p95),
    )


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else max(0.0, round(float(milliseconds), 1))


_MINUTES = """
SELECT m.minute, p.counted_until,
    coalesce(sum(c.jobs) FILTER (WHERE c.status = 'completed'), 0),
    coalesce(sum(c.jobs) FILTER (WHERE c.status = 'failed'), 0),
    coalesce(sum(c.jobs) FILTER (WHERE c.status = 'cancelled'), 0)
FROM statistics_progress AS p
CROSS JOIN generate_series(%(first)s::timestamptz, %(last)s::timestamptz, interval '1 minute') AS m (minute)
LEFT JOIN job_minutes AS c ON c.tenant_id = %(tenant_id)s AND c.minute = m.minute
GROUP BY 1, 2 ORDER BY 1
"""


def _minutes(connection: Connection, tenant_id: str, now: datetime) -> tuple[list[Minute], datetime]:
    last = now.replace(second=0, microsecond=0)
    parameters = {"tenant_id": tenant_id, "last": last, "first": last - _WINDOW + timedelta(minutes=1)}
    found = list(connection.exec_driver_sql(_MINUTES, parameters))
    minutes = [
        Minute(minute=minute, completed=int(completed), failed=int(failed), cancelled=int(cancelled))
        for minute, _, completed, failed, cancelled in found
    ]
    return minutes, found[0][1]


def _of(tenant_id: str) -> dict[str, object]:
    return {"tenant_id": tenant_id, "triggers": [trigger.value for trigger in Trigger], "floor": _EVER}
