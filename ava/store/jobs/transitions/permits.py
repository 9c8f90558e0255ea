"""Grant permits of limits to jobs, revoke them for more urgent jobs, and apply changed limits.

Permits are counted from jobs' rows and never stored, so statements that grant them run in one transaction after `lock`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ava.domain.jobs.job import Job, RunKey
from ava.domain.limits.fair_queueing import WaitingJob
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import IN_ORDER, IS_UNFLUSHED, PLAN_SECONDS, Statement
from ava.store.fleet import workers
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import IS_WAITING, RATE_NEXT_AT, limit_key, park_set, rate_key

#: Advisory lock key: "ava lims" as a number.
_LOCK_KEY = 0x61766120_6C696D73

LOCK = Statement(f"{IN_ORDER} SELECT pg_advisory_xact_lock({_LOCK_KEY}) WHERE {IS_UNFLUSHED}")


def lock(connection: Connection) -> None:
    """Wait until no other transaction counts permits, and block others until this one ends.

    The transaction commits asynchronously: after a crash its jobs wait again, and no claim starts them earlier.
    """
    connection.exec_driver_sql(LOCK)


# Finds each job by its primary key, as in `publish.publish`.
_ADMIT = Prepared(
    "admit",
    f"""
WITH chosen AS (
    SELECT j.tenant_id, j.id, c.n, c.is_published, {workers.queue("j.tenant_id")} AS queue
    FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(published)s::bool[]) WITH ORDINALITY
         AS c (tenant_id, id, is_published, n)
    CROSS JOIN LATERAL (
        SELECT tenant_id, id, worker_id FROM jobs
        WHERE tenant_id = c.tenant_id AND id = c.id AND status IS NOT DISTINCT FROM 'queued' AND waits_for = 'permit'
        LIMIT 1 FOR UPDATE SKIP LOCKED
    ) AS j
    JOIN workers AS w ON {workers.of("j")}
), admitted AS (
    UPDATE jobs AS j SET waits_for = NULL, queue = c.queue,
        published_at = CASE WHEN c.is_published AND c.queue = j.queue THEN clock_timestamp() END
    FROM chosen AS c WHERE j.tenant_id = c.tenant_id AND j.id = c.id RETURNING j.*, c.n
)
SELECT {rows.JOB_COLUMNS} FROM admitted AS j ORDER BY j.n
""",
    plan_seconds=PLAN_SECONDS,
)


def admit(connection: Connection, chosen: Sequence[tuple[WaitingJob, bool]]) -> list[Job]:
    """Grant permits to waiting jobs, each with whether to publish it. Returns the jobs, in the given order."""
    parameters = {
        "tenants": [job.tenant_id for job, _ in chosen],
        "ids": [job.id for job, _ in chosen],
        "published": [is_published for _, is_published in chosen],
    }
    return [rows.job(row) for row in _ADMIT.run(connection, parameters)]


# Admitted but unstarted jobs of the key wait again; SKIP LOCKED, because a locked row is being started. Scans the limit
# keys of the worker in `jobs_admitted`, because a limit may be finer than a rate.
_DEFER_RATE = Prepared(
    "defer_rate",
    f"""
WITH own AS (
    SELECT worker_id, rate_key FROM jobs
    WHERE tenant_id = %(tenant_id)s AND id = %(id)s::uuid AND run_no = %(run_no)s
        AND status IS NOT DISTINCT FROM 'running' AND claim_id IS NOT DISTINCT FROM %(claim_id)s::uuid
        AND rate_key IS NOT NULL
), deferred AS (
    INSERT INTO rate_states AS r (key, next_at)
    SELECT rate_key, clock_timestamp() + %(seconds)s * interval '1 second' FROM own
    ON CONFLICT (key) DO UPDATE SET
        next_at = greatest({RATE_NEXT_AT}, excluded.next_at), written_at = clock_timestamp()
), admitted AS (
    SELECT j.tenant_id, j.id FROM own CROSS JOIN LATERAL (
        SELECT tenant_id, id FROM jobs
        WHERE limit_key >= own.worker_id AND limit_key < own.worker_id || '!' AND rate_key = own.rate_key
            AND status = 'queued' AND waits_for IS NULL
        ORDER BY limit_key, status, priority, id FOR UPDATE SKIP LOCKED
    ) AS j
), parked AS (
    UPDATE jobs AS j SET {park_set("'permit'")} FROM admitted
    WHERE j.tenant_id = admitted.tenant_id AND j.id = admitted.id
)
SELECT rate_key FROM own
""",
    plan_seconds=PLAN_SECONDS,
)


def defer_rate(connection: Connection, *, run: RunKey, claim_id: str | None, seconds: float) -> bool:
    """Delay all starts of a run's rate key by `seconds`. Returns False if the run has none, or has lost its job.

    Blocks admissions: one that read the rate's state earlier would admit a job too early.
    """
    parameters = rows.run_parameters(run) | {"claim_id": claim_id, "seconds": seconds}
    return bool(_DEFER_RATE.run(connection, parameters, before=f"{LOCK};"))


_ITS_INPUT = {"worker": "w.id", "row": "w", "tenant_id": "j.tenant_id", "input_json": "j.input"}
# `waits_for > ''` is a range of `jobs_waiting`. Fewer jobs than the limit mean that none are left, so the LIMIT counts
# no locked rows. A running job counts with its new key from now on. A startable job waits for a permit again. A job
# that changed since the snapshot is left to the next pass (`xmin`): its input, and so its key, may be another one.
_FOLLOW_LIMITS = Statement(f"""
WITH open AS (
    SELECT xmin AS version, * FROM jobs
    WHERE status = 'queued' AND waits_for IS NULL AND worker_id = ANY(%(workers)s::text[])
    UNION ALL
    SELECT j.xmin, j.* FROM jobs AS j WHERE {IS_WAITING} AND waits_for > '' AND worker_id = ANY(%(workers)s::text[])
    UNION ALL
    SELECT xmin, * FROM jobs WHERE status = 'running' AND worker_id = ANY(%(workers)s::text[])
), outdated AS (
    SELECT j.tenant_id, j.id, j.version, n.limit_key, n.rate_key FROM open AS j JOIN workers AS w ON {workers.of("j")}
    CROSS JOIN LATERAL (
        SELECT {limit_key(**_ITS_INPUT)} AS limit_key, {rate_key(**_ITS_INPUT)} AS rate_key
    ) AS n
    WHERE (j.limit_key, j.rate_key) IS DISTINCT FROM (n.limit_key, n.rate_key)
        OR n.limit_key IS NOT NULL AND j.status = 'queued' AND j.waits_for IS NULL
), changed AS (
    SELECT o.* FROM outdated AS o CROSS JOIN LATERAL (
        SELECT FROM jobs WHERE tenant_id = o.tenant_id AND id = o.id AND xmin = o.version
        LIMIT 1 FOR UPDATE SKIP LOCKED) AS j
    LIMIT %(limit)s
)
UPDATE jobs AS j SET limit_key = c.limit_key, rate_key = c.rate_key,
    waits_for = CASE WHEN c.limit_key IS NULL AND j.waits_for = 'permit' THEN NULL
                     WHEN j.status = 'queued' AND c.limit_key IS NOT NULL AND j.waits_for IS NULL THEN 'permit'
                     ELSE j.waits_for END,
    published_at = CASE WHEN j.status = 'queued' AND c.limit_key IS NOT NULL THEN NULL ELSE j.published_at END,
    run_no = j.run_no + (j.status = 'queued' AND c.limit_key IS NOT NULL AND j.published_at IS NOT NULL)::int
FROM changed AS c WHERE j.tenant_id = c.tenant_id AND j.id = c.id
""")


def follow_limits(connection: Connection, *, workers: Collection[str], limit: int) -> int:
    """Give the jobs of workers the keys of their workers' current limits. Returns the number of jobs.

    Admitted but unstarted jobs wait again, because a limit may have become smaller.
    """
    return connection.exec_driver_sql(_FOLLOW_LIMITS, {"workers": list(workers), "limit": limit}).rowcount
