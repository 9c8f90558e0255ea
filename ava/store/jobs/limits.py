"""Limits: jobs that wait for a place, the places that are taken, and who gets the next one.

A job with a limit has its key in `limit_key`. While it waits for a place, `waits_for` is `permit`. From its admission
on it holds a place, until it is final or waits again: places are counted from these rows and never stored. The
statements that count and admit run in one transaction, after `lock`. A key costs nothing while none of its jobs waits.
`ava.store.jobs.limit_keys` has the states of keys.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from ava.domain.fair_queue import WaitingJob
from ava.domain.job import Job
from ava.domain.rates import RateState
from ava.store.engine.commits import IS_UNFLUSHED
from ava.store.engine.database import Connection
from ava.store.engine.plans import IN_ORDER, PLAN_SECONDS
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement
from ava.store.fleet import workers
from ava.store.jobs import rows
from ava.store.jobs.moves.rules import IS_PARKED, park_set

__all__ = [
    "LOCK",
    "HeldJob",
    "admit",
    "delete_idle_rates",
    "follow_limits",
    "held_heads",
    "held_tenants",
    "hold_less_urgent",
    "lock",
    "put_off_rate",
    "rate_states",
    "write_rate_states",
]

#: The key of the lock: "ava lims" as a number.
_LOCK_KEY = 0x61766120_6C696D73

#: The first statements of a transaction that counts places.
LOCK = Statement(f"{IN_ORDER} SELECT pg_advisory_xact_lock({_LOCK_KEY}) WHERE {IS_UNFLUSHED}")


def lock(connection: Connection) -> None:
    """Wait until no other transaction counts places, and keep others from it until this one ends.

    The transaction does not wait for the disk: after a crash its jobs wait again, and no claim starts them before that.
    """
    connection.exec_driver_sql(LOCK)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldJob(WaitingJob):
    """A job that waits for a place."""

    queue: str
    priority: int
    limit_key: str
    #: The key of its rate; None if it has none.
    rate_key: str | None


_HELD_TENANTS = Statement("""
WITH RECURSIVE held AS (
    (SELECT tenant_id FROM jobs
     WHERE limit_key = %(key)s AND priority = %(priority)s AND status = 'queued' AND waits_for = 'permit'
     ORDER BY limit_key, priority, tenant_id LIMIT 1)
    UNION ALL
    SELECT next.tenant_id FROM held AS h CROSS JOIN LATERAL (
        SELECT j.tenant_id FROM jobs AS j
        WHERE j.limit_key = %(key)s AND j.priority = %(priority)s AND j.status = 'queued' AND j.waits_for = 'permit'
            AND j.tenant_id > h.tenant_id
        ORDER BY j.limit_key, j.priority, j.tenant_id LIMIT 1) AS next
)
SELECT tenant_id FROM held LIMIT %(limit)s
""")


def held_tenants(connection: Connection, *, key: str, priority: int, limit: int) -> list[str]:
    """Returns the tenants whose jobs of a priority wait for a key."""
    parameters = {"key": key, "priority": priority, "limit": limit}
    return list(connection.exec_driver_sql(_HELD_TENANTS, parameters).scalars())


_HELD_HEADS = Prepared(
    "held_heads",
    """
SELECT j.id::text, j.tenant_id, j.worker_id, j.queue, j.priority, j.limit_key, j.rate_key
FROM unnest(%(keys)s::text[], %(priorities)s::smallint[], %(tenants)s::text[]) WITH ORDINALITY
     AS k (key, priority, tenant_id, place)
CROSS JOIN LATERAL (
    SELECT * FROM jobs AS j
    WHERE j.limit_key = k.key AND j.priority = k.priority AND j.tenant_id = k.tenant_id
        AND j.status = 'queued' AND j.waits_for = 'permit'
    ORDER BY j.limit_key, j.priority, j.tenant_id, j.id LIMIT %(each)s
) AS j
ORDER BY k.place, j.id
""",
    plan_seconds=PLAN_SECONDS,
)


def held_heads(connection: Connection, places: Sequence[tuple[str, int, str]], *, each: int) -> list[HeldJob]:
    """Returns the oldest waiting jobs of each key, priority and tenant, `each` at most."""
    parameters = {
        "keys": [key for key, _, _ in places],
        "priorities": [priority for _, priority, _ in places],
        "tenants": [tenant for _, _, tenant in places],
        "each": each,
    }
    return [
        HeldJob(
            id=id_,
            tenant_id=tenant,
            worker_id=worker,
            queue=queue,
            priority=priority,
            limit_key=key,
            rate_key=rate_key,
        )
        for id_, tenant, worker, queue, priority, key, rate_key in _HELD_HEADS.run(connection, parameters)
    ]


# Each job is found by its primary key, as in `turns.publish_chosen`.
_ADMIT = Prepared(
    "admit",
    f"""
WITH chosen AS (
    SELECT j.id, c.place, c.is_published, w.queue
    FROM unnest(%(ids)s::uuid[], %(published)s::bool[]) WITH ORDINALITY AS c (id, is_published, place)
    CROSS JOIN LATERAL (
        SELECT id, worker_id FROM jobs
        WHERE id = c.id AND status IS NOT DISTINCT FROM 'queued' AND waits_for = 'permit'
        LIMIT 1 FOR UPDATE SKIP LOCKED
    ) AS j
    JOIN workers AS w ON {workers.of("j")}
), admitted AS (
    UPDATE jobs AS j SET waits_for = NULL, queue = c.queue,
        published_at = CASE WHEN c.is_published AND c.queue = j.queue THEN clock_timestamp() END
    FROM chosen AS c WHERE j.id = c.id RETURNING j.*, c.place
)
SELECT {rows.JOB_COLUMNS} FROM admitted AS j ORDER BY j.place
""",
    plan_seconds=PLAN_SECONDS,
)


def admit(connection: Connection, chosen: Sequence[tuple[HeldJob, bool]]) -> list[Job]:
    """Give places to waiting jobs, each marked as published or not. Returns the jobs, in the given order."""
    parameters = {"ids": [job.id for job, _ in chosen], "published": [is_published for _, is_published in chosen]}
    return [rows.job(row) for row in _ADMIT.run(connection, parameters)]


_HOLD_LESS_URGENT = Statement(f"""
WITH chosen AS (
    SELECT id FROM jobs
    WHERE limit_key = %(key)s AND status = 'queued' AND waits_for IS NULL AND priority > %(priority)s
    ORDER BY priority DESC, id DESC LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE jobs AS j SET {park_set("'permit'")} FROM chosen WHERE j.id = chosen.id
""")


def hold_less_urgent(connection: Connection, *, key: str, priority: int, limit: int) -> int:
    """Take the places of unstarted jobs that are less urgent than `priority`. Returns the number of jobs."""
    parameters = {"key": key, "priority": priority, "limit": limit}
    return connection.exec_driver_sql(_HOLD_LESS_URGENT, parameters).rowcount


_RATE_STATES = Statement("""
SELECT k.key, clock_timestamp(), coalesce(r.next_at, '-infinity')
FROM unnest(%(keys)s::text[]) AS k (key) LEFT JOIN rate_states AS r ON r.key = k.key
""")


def rate_states(connection: Connection, keys: Collection[str]) -> dict[str, RateState]:
    """Returns the states of rates by their keys."""
    found = connection.exec_driver_sql(_RATE_STATES, {"keys": list(keys)})
    return {key: RateState(now=now, next_at=max(next_at, _LONG_AGO)) for key, now, next_at in found}


_LONG_AGO = datetime.fromisoformat("2000-01-01T00:00:00+00:00")

# A handler may have put the moment off meanwhile.
_WRITE_RATE_STATES = Statement("""
INSERT INTO rate_states AS r (key, next_at)
SELECT * FROM unnest(%(keys)s::text[], %(moments)s::timestamptz[]) AS k (key, next_at) ORDER BY key
ON CONFLICT (key) DO UPDATE SET next_at = greatest(r.next_at, excluded.next_at)
""")


def write_rate_states(connection: Connection, moments: dict[str, datetime]) -> None:
    """Write the moments of the next starts by the keys of their rates."""
    parameters = {"keys": list(moments), "moments": list(moments.values())}
    connection.exec_driver_sql(_WRITE_RATE_STATES, parameters)


# Jobs of the key that were admitted and have not started wait again. A row that is locked now is that of a start.
_PUT_OFF_RATE = Prepared(
    "put_off_rate",
    f"""
WITH own AS (
    SELECT rate_key, limit_key FROM jobs
    WHERE id = %(id)s::uuid AND run_no = %(run_no)s AND status IS NOT DISTINCT FROM 'running'
        AND claim_id IS NOT DISTINCT FROM %(claim_id)s::uuid AND rate_key IS NOT NULL
), put_off AS (
    INSERT INTO rate_states AS r (key, next_at)
    SELECT rate_key, clock_timestamp() + %(seconds)s * interval '1 second' FROM own
    ON CONFLICT (key) DO UPDATE SET next_at = greatest(r.next_at, excluded.next_at)
), admitted AS (
    SELECT j.id FROM own JOIN jobs AS j ON j.limit_key = own.limit_key AND j.rate_key = own.rate_key
    WHERE j.status = 'queued' AND j.waits_for IS NULL FOR UPDATE OF j SKIP LOCKED
), parked AS (
    UPDATE jobs AS j SET {park_set("'permit'")} FROM admitted WHERE j.id = admitted.id
)
SELECT rate_key FROM own
""",
    plan_seconds=PLAN_SECONDS,
)


def put_off_rate(connection: Connection, *, job_id: str, run_no: int, claim_id: str | None, seconds: float) -> bool:
    """Let no job of a run's rate key start for so long. Returns False if the run has none, or has lost its job.

    No admission is under way meanwhile, because one that has read the rate's state before would admit a job after it.
    """
    parameters = {"id": rows.job_uuid(job_id), "run_no": run_no, "claim_id": claim_id, "seconds": seconds}
    # The statements of one message are one transaction.
    return bool(_PUT_OFF_RATE.run(connection, parameters, before=f"{LOCK};"))


_DELETE_IDLE_RATES = Statement("""
DELETE FROM rate_states WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM rate_states WHERE next_at < now() - interval '1 hour' LIMIT %(limit)s))
""")


def delete_idle_rates(connection: Connection, *, limit: int) -> int:
    """Delete the states of rates that allow every start. Returns the number of rows."""
    return connection.exec_driver_sql(_DELETE_IDLE_RATES, {"limit": limit}).rowcount


# A job that runs counts with its new key from now on; one that waits is held, and admitted anew.
_FOLLOW_LIMITS = Statement(f"""
WITH open AS (
    SELECT * FROM jobs WHERE status = 'queued' AND waits_for IS NULL AND worker_id = ANY(%(workers)s::text[])
    UNION ALL
    SELECT * FROM jobs WHERE status = 'queued' AND waits_for = 'date' AND worker_id = ANY(%(workers)s::text[])
    UNION ALL
    SELECT * FROM jobs WHERE status = 'queued' AND waits_for = 'permit' AND limit_key IS NOT NULL
        AND worker_id = ANY(%(workers)s::text[])
    UNION ALL
    SELECT j.* FROM jobs AS j WHERE {IS_PARKED} AND worker_id = ANY(%(workers)s::text[])
    UNION ALL
    SELECT * FROM jobs WHERE status = 'running' AND worker_id = ANY(%(workers)s::text[])
), outdated AS (
    SELECT j.id, n.limit_key, n.rate_key FROM open AS j JOIN workers AS w ON {workers.of("j")}
    CROSS JOIN LATERAL (SELECT
        CASE WHEN w.max_running IS NOT NULL THEN ava_limit_key(w.id, w.max_running_per, j.tenant_id, j.input)
             WHEN w.rate_jobs IS NOT NULL THEN ava_limit_key(w.id, w.rate_per, j.tenant_id, j.input) END,
        CASE WHEN w.rate_jobs IS NOT NULL THEN ava_limit_key(w.id, w.rate_per, j.tenant_id, j.input) END
    ) AS n (limit_key, rate_key)
    WHERE (j.limit_key, j.rate_key) IS DISTINCT FROM (n.limit_key, n.rate_key)
        OR n.limit_key IS NOT NULL AND j.status = 'queued' AND j.waits_for IS NULL
    LIMIT %(limit)s
), changed AS (
    SELECT o.* FROM outdated AS o CROSS JOIN LATERAL (
        SELECT FROM jobs WHERE id = o.id AND status IN ('queued', 'running') LIMIT 1 FOR UPDATE SKIP LOCKED) AS j
)
UPDATE jobs AS j SET limit_key = c.limit_key, rate_key = c.rate_key,
    waits_for = CASE WHEN c.limit_key IS NULL AND j.waits_for = 'permit' THEN NULL
                     WHEN j.status = 'queued' AND c.limit_key IS NOT NULL AND j.waits_for IS NULL THEN 'permit'
                     ELSE j.waits_for END,
    published_at = CASE WHEN j.status = 'queued' AND c.limit_key IS NOT NULL THEN NULL ELSE j.published_at END,
    run_no = j.run_no + (j.status = 'queued' AND c.limit_key IS NOT NULL AND j.published_at IS NOT NULL)::int
FROM changed AS c WHERE j.id = c.id
""")


def follow_limits(connection: Connection, *, workers: Collection[str], limit: int) -> int:
    """Give the jobs of workers the keys of the limits that their workers have now. Returns the number of jobs.

    Those that were admitted and have not started wait again, because a limit may have become smaller.
    """
    return connection.exec_driver_sql(_FOLLOW_LIMITS, {"workers": list(workers), "limit": limit}).rowcount
