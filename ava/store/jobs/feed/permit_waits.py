"""Limits: the jobs that wait for a permit, and their order. Rates: when the next job of a key may start.

A job with a limit has its key in `limit_key`, and waits with `waits_for` = `permit`. Once admitted, it has a permit
until it is final or waits again: permits are counted from these rows and never stored. A key without waiting jobs costs
nothing. `limit_keys` reads the states of keys, `ava.store.jobs.transitions.permits` changes them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from ava.domain.limits.fair_queueing import WaitingJob
from ava.domain.limits.rates import RateState
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import PLAN_SECONDS, Deletion, Statement
from ava.store.jobs.transitions.rules import RATE_NEXT_AT


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitedJob(WaitingJob):
    queue: str
    priority: int
    limit_key: str
    rate_key: str | None


_WAITING_TENANTS = Statement("""
WITH RECURSIVE waiting AS (
    (SELECT tenant_id FROM jobs
     WHERE limit_key = %(key)s AND priority = %(priority)s AND status = 'queued' AND waits_for = 'permit'
     ORDER BY limit_key, priority, tenant_id LIMIT 1)
    UNION ALL
    SELECT next.tenant_id FROM waiting AS w CROSS JOIN LATERAL (
        SELECT j.tenant_id FROM jobs AS j
        WHERE j.limit_key = %(key)s AND j.priority = %(priority)s AND j.status = 'queued' AND j.waits_for = 'permit'
            AND j.tenant_id > w.tenant_id
        ORDER BY j.limit_key, j.priority, j.tenant_id LIMIT 1) AS next
)
SELECT tenant_id FROM waiting LIMIT %(limit)s
""")


def waiting_tenants(connection: Connection, *, key: str, priority: int, limit: int) -> list[str]:
    parameters = {"key": key, "priority": priority, "limit": limit}
    return list(connection.exec_driver_sql(_WAITING_TENANTS, parameters).scalars())


_NEXT_PRIORITY = Statement("""
SELECT priority FROM jobs
WHERE limit_key = %(key)s AND priority > %(priority)s AND status = 'queued' AND waits_for = 'permit'
ORDER BY limit_key, priority, tenant_id, id LIMIT 1
""")


def next_priority(connection: Connection, *, key: str, priority: int) -> int | None:
    """Return the next less urgent priority with jobs waiting for a key, if any."""
    parameters = {"key": key, "priority": priority}
    found: int | None = connection.exec_driver_sql(_NEXT_PRIORITY, parameters).scalar()
    return found


JOB_ROWS = RecordRows(LimitedJob, "j", columns={"id": "j.id::text"})
_WAITING_JOBS = Prepared(
    "waiting_jobs",
    f"""
SELECT {JOB_ROWS.columns}
FROM unnest(%(keys)s::text[], %(priorities)s::smallint[], %(tenants)s::text[]) WITH ORDINALITY
     AS k (key, priority, tenant_id, n)
CROSS JOIN LATERAL (
    SELECT * FROM jobs AS j
    WHERE j.limit_key = k.key AND j.priority = k.priority AND j.tenant_id = k.tenant_id
        AND j.status = 'queued' AND j.waits_for = 'permit'
    ORDER BY j.limit_key, j.priority, j.tenant_id, j.id LIMIT %(each)s
) AS j
ORDER BY k.n, j.id
""",
    plan_seconds=PLAN_SECONDS,
)


def waiting_jobs(connection: Connection, lines: Sequence[tuple[str, int, str]], *, each: int) -> list[LimitedJob]:
    """Return the oldest waiting jobs of each key, priority and tenant, at most `each`."""
    parameters = {
        "keys": [key for key, _, _ in lines],
        "priorities": [priority for _, priority, _ in lines],
        "tenants": [tenant for _, _, tenant in lines],
        "each": each,
    }
    return [JOB_ROWS.read(row) for row in _WAITING_JOBS.run(connection, parameters)]


# Rewrites states from before the clock was set back: otherwise `next_at` would keep moving with the clock.
_READ_RATES = Statement(f"""
WITH rebased AS (
    UPDATE rate_states AS r SET next_at = {RATE_NEXT_AT}, written_at = clock_timestamp()
    WHERE r.key = ANY(%(keys)s::text[]) AND r.written_at > clock_timestamp()
    RETURNING r.key, r.next_at
)
SELECT k.key, clock_timestamp(), coalesce(b.next_at, r.next_at, '-infinity')
FROM unnest(%(keys)s::text[]) AS k (key)
LEFT JOIN rate_states AS r ON r.key = k.key LEFT JOIN rebased AS b ON b.key = k.key
""")


def read_rates(connection: Connection, keys: Collection[str]) -> dict[str, RateState]:
    """Return the states of rates by key, after correcting states from before the clock was set back."""
    found = connection.exec_driver_sql(_READ_RATES, {"keys": list(keys)})
    return {key: RateState(now=now, next_at=max(next_at, _LONG_AGO)) for key, now, next_at in found}


_LONG_AGO = datetime.fromisoformat("2000-01-01T00:00:00+00:00")

# A handler may have deferred the rate since the read.
_WRITE_RATES = Statement(f"""
INSERT INTO rate_states AS r (key, next_at)
SELECT * FROM unnest(%(keys)s::text[], %(timestamps)s::timestamptz[]) AS k (key, next_at) ORDER BY key
ON CONFLICT (key) DO UPDATE SET
    next_at = greatest({RATE_NEXT_AT}, excluded.next_at), written_at = clock_timestamp()
""")


def write_rates(connection: Connection, timestamps: dict[str, datetime]) -> None:
    """Store the next start times by rate key."""
    parameters = {"keys": list(timestamps), "timestamps": list(timestamps.values())}
    connection.exec_driver_sql(_WRITE_RATES, parameters)


#: Deletes the states of rates that allow every start.
delete_idle_rates = Deletion("rate_states", "next_at < now() - interval '1 hour'")
