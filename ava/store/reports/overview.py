"""A tenant's overview. Every statement is bounded, whatever the number of the tenant's jobs."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from ava.domain import ids
from ava.domain.analytics import Depth, Failure, Latency, Minute, Overview
from ava.domain.jobs import priority
from ava.domain.jobs.job import Trigger
from ava.store.engine import clock
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import IS_SCHEDULED

#: A number at this limit is a lower bound.
MAX_COUNTED_OF_TRIGGER = 20_000
_FAILURES = 5
#: Older starts do not describe the current state.
_RECENT = timedelta(minutes=5)
#: Newest final jobs per status and trigger for the percentiles.
_SAMPLE = 500
_WINDOW = timedelta(minutes=60)


def read(connection: Connection, *, tenant_id: str) -> Overview:
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
        failures=_failures(connection, tenant_id),
        sampled_at=now,
    )


_FIRST_UUID = "00000000-0000-0000-0000-000000000000"

# Each statement reads a range of `jobs_by_status` per trigger, in index order. The ranges are row comparisons because
# with equalities the planner may walk the primary key over all jobs in search of a status that no job has.
_WAITING = Statement(f"""
SELECT t.trigger, q.priority, count(*), count(*) FILTER (WHERE q.is_scheduled)
FROM unnest(%(triggers)s::text[]) AS t (trigger) CROSS JOIN LATERAL (
    SELECT j.priority, {IS_SCHEDULED} AS is_scheduled FROM jobs AS j
    WHERE (j.tenant_id, j.status, j.trigger, j.id) >= (%(tenant_id)s, 'queued', t.trigger, %(floor)s::uuid)
        AND (j.tenant_id, j.status, j.trigger, j.id)
            <= (%(tenant_id)s, 'queued', t.trigger, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
    ORDER BY j.tenant_id, j.status, j.trigger, j.id LIMIT %(limit)s + 1
) AS q GROUP BY 1, 2
""")


def _waiting(connection: Connection, tenant_id: str) -> tuple[dict[int, tuple[Depth, int]], bool]:
    """Return the queued jobs by priority, each with the number of scheduled jobs, and True if all were counted."""
    queued, dated, by_trigger = Counter[int](), Counter[int](), Counter[str]()
    parameters = _parameters(tenant_id) | {"limit": MAX_COUNTED_OF_TRIGGER}
    for trigger, number, count, scheduled in connection.exec_driver_sql(_WAITING, parameters):
        queued[number] += count
        dated[number] += scheduled
        by_trigger[trigger] += count
    waiting = {
        number: (Depth(priority=number, queued=queued[number], scheduled=dated[number]), dated[number])
        for number in range(priority.FIRST, priority.LAST + 1)
    }
    return waiting, all(count <= MAX_COUNTED_OF_TRIGGER for count in by_trigger.values())


_RUNNING = Statement("""
SELECT count(*) FROM unnest(%(triggers)s::text[]) AS t (trigger) CROSS JOIN LATERAL (
    SELECT 1 FROM jobs AS j
    WHERE (j.tenant_id, j.status, j.trigger, j.id) >= (%(tenant_id)s, 'running', t.trigger, %(floor)s::uuid)
        AND (j.tenant_id, j.status, j.trigger, j.id)
            <= (%(tenant_id)s, 'running', t.trigger, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
    ORDER BY j.tenant_id, j.status, j.trigger, j.id LIMIT %(limit)s
) AS r
""")


def _running(connection: Connection, tenant_id: str) -> int:
    parameters = _parameters(tenant_id) | {"limit": MAX_COUNTED_OF_TRIGGER}
    return int(connection.exec_driver_sql(_RUNNING, parameters).scalar_one())


# Ids are ordered by creation, so the oldest due job is among the first, unless all of these wait for their date.
_OLDEST_DUE = Statement("""
SELECT min(greatest(q.created_at, q.scheduled_at))
FROM unnest(%(triggers)s::text[]) AS t (trigger) CROSS JOIN LATERAL (
    SELECT j.created_at, j.scheduled_at, j.waits_for FROM jobs AS j
    WHERE (j.tenant_id, j.status, j.trigger, j.id) >= (%(tenant_id)s, 'queued', t.trigger, %(floor)s::uuid)
        AND (j.tenant_id, j.status, j.trigger, j.id)
            <= (%(tenant_id)s, 'queued', t.trigger, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
    ORDER BY j.tenant_id, j.status, j.trigger, j.id LIMIT %(limit)s
) AS q WHERE q.waits_for IS NULL OR q.waits_for IN ('permit', 'node', 'queue')
""")


def _oldest_due(connection: Connection, tenant_id: str) -> datetime | None:
    timestamp: datetime | None = connection.exec_driver_sql(
        _OLDEST_DUE, _parameters(tenant_id) | {"limit": _SAMPLE * 4}
    ).scalar_one()
    return timestamp


# The run time of a job is its `duration_ms`: its handler's waits are no part of it, nor of the time until its start.
_LATENCY = Statement(f"""
SELECT count(*),
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
        ORDER BY extract(epoch FROM d.began_at - greatest(d.created_at, d.scheduled_at)) * 1000)
        FILTER (WHERE d.attempt = 1 AND d.losses = 0 AND d.started_at > %(recent)s),
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
        ORDER BY extract(epoch FROM d.completed_at - d.started_at) * 1000 + coalesce(d.earlier[1], 0))
FROM unnest(%(triggers)s::text[]) AS t (trigger)
CROSS JOIN unnest(ARRAY['completed', 'failed']) AS s (status) CROSS JOIN LATERAL (
    SELECT j.created_at, j.scheduled_at, j.started_at, j.completed_at, j.attempt, j.losses,
        coalesce(j.first_started_at, j.started_at) AS began_at, {rows.earlier_runs("j")} AS earlier
    FROM jobs AS j
    WHERE (j.tenant_id, j.status, j.trigger, j.id) >= (%(tenant_id)s, s.status, t.trigger, %(floor)s::uuid)
        AND (j.tenant_id, j.status, j.trigger, j.id)
            <= (%(tenant_id)s, s.status, t.trigger, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
    ORDER BY j.tenant_id DESC, j.status DESC, j.trigger DESC, j.id DESC LIMIT %(sample)s
) AS d WHERE d.started_at IS NOT NULL
""")


def _latency(connection: Connection, tenant_id: str, now: datetime) -> Latency:
    parameters = (
        _parameters(tenant_id)
        | {"sample": _SAMPLE, "floor": str(ids.first_uuid(now - _WINDOW))}
        | {"recent": now - _RECENT}
    )
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


_FAILURE_ROWS = RecordRows(Failure, "j")
_FAILED = Statement(f"""
SELECT {_FAILURE_ROWS.columns} FROM jobs AS j
WHERE j.tenant_id = %(tenant_id)s AND j.status = 'failed' ORDER BY j.completed_at DESC, j.id DESC LIMIT %(limit)s
""")


def _failures(connection: Connection, tenant_id: str) -> list[Failure]:
    found = connection.exec_driver_sql(_FAILED, {"tenant_id": tenant_id, "limit": _FAILURES})
    return [_FAILURE_ROWS.read(row) for row in found]


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else max(0.0, round(float(milliseconds), 1))


_MINUTE_ROWS = RecordRows(
    Minute,
    "m",
    columns={
        each: f"coalesce(sum(c.jobs) FILTER (WHERE c.status = '{each}'), 0)::bigint"
        for each in ("completed", "failed", "cancelled")
    },
)
_MINUTES = Statement(f"""
SELECT {_MINUTE_ROWS.columns}, p.counted_until
FROM count_progress AS p
CROSS JOIN generate_series(%(first)s::timestamptz, %(last)s::timestamptz, interval '1 minute') AS m (minute)
LEFT JOIN job_minutes AS c ON c.tenant_id = %(tenant_id)s AND c.minute = m.minute
GROUP BY m.minute, p.counted_until ORDER BY 1
""")


def _minutes(connection: Connection, tenant_id: str, now: datetime) -> tuple[list[Minute], datetime]:
    last = now.replace(second=0, microsecond=0)
    parameters = {"tenant_id": tenant_id, "last": last, "first": last - _WINDOW + timedelta(minutes=1)}
    found = list(connection.exec_driver_sql(_MINUTES, parameters))
    return [_MINUTE_ROWS.read(row) for row in found], found[0][-1]


def _parameters(tenant_id: str) -> dict[str, object]:
    return {"tenant_id": tenant_id, "triggers": [trigger.value for trigger in Trigger], "floor": _FIRST_UUID}
