"""End runs: a job completes, fails, returns to the queue, or stops. Three statements cover all outcomes.

The process that ends a run computes the values (`ava.domain.jobs.run_outcome`). A statement writes them if the run
still owns its job and the job has no stop request. Otherwise `end_stopped` gives the job its `stop_status`, whatever
the outcome. So stop requests cost an ordinary end nothing, and a stopped run a second statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ava.domain import ids
from ava.domain.jobs.job import Job, JobKey, RunKey, Status
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import IN_ORDER, Statement
from ava.store.jobs import rows
from ava.store.jobs.transitions import log_lines
from ava.store.jobs.transitions.claim import (
    CHECKS,
    CLAIMED_COLUMNS,
    FIRST_LINES,
    IS_WANTED,
    NO_PRIORITY,
    Claim,
    RunCheck,
    check_parameters,
    claimed_job,
    claims,
    is_outranked,
    outranked_parameters,
)
from ava.store.jobs.transitions.ended_runs import (
    EndedRun,
    end_parameters,
    final_parameters,
    in_lock_order,
    requeue_parameters,
    stopped_parameters,
)
from ava.store.jobs.transitions.rules import CONTAINED, ONE_RUN, OWNS

# Ordinary ends --------------------------------------------------------------------------------------------------------

# `completed_at` is never before the transaction's start, because the counts of ended jobs rely on that. Of a run that
# shares its claim, `started_at` becomes the start of its handler: it moves with `completed_at` by at most 0.1 s, so
# that a job's duration is its handler's.
_STARTED_AT = """coalesce(least(
            clock_timestamp() - {seconds} * interval '1 second', {began_at} + interval '0.1 second'), j.started_at)"""
_DURATION = "ava_duration(j.tenant_id, j.id, j.attempt, j.started_at, j.completed_at, r.outcome) AS ran"
#: The CTE `ended` for a single run: the job becomes final.
_ENDED = f"""ended AS (
    UPDATE jobs AS j SET status = %(status)s, completed_at = clock_timestamp(),
        started_at = {_STARTED_AT.format(seconds="%(seconds)s::float8", began_at="%(began_at)s::timestamptz")},
        error = %(error)s, error_id = %(error_id)s::uuid,
        output = %(output)s::json, output_bytes = %(output_bytes)s::int,
        progress = coalesce(%(progress)s::json, j.progress),
        cpu_us = %(cpu_us)s::bigint, peak_memory_mb = %(peak_memory_mb)s::int
    FROM {ONE_RUN} AS r
    WHERE {OWNS} AND j.stop_status IS NULL
    RETURNING j.tenant_id, j.id, j.queue, {_DURATION.replace("r.outcome", "NULL")}
)"""
_LINES = log_lines.of_one("ended", log_lines.closed("ended"))
_END = Prepared(
    "end",
    f"""
WITH {_ENDED}, stored AS (
    {log_lines.stores(_LINES)}
)
SELECT 1 FROM ended
""",
)
# Locks the ended job's row first, and does not wait for the next job's row (SKIP LOCKED): a bulk cancel may lock the
# next job and wait for the ended one. If the end wrote nothing, nothing is claimed.
_NEXT = f"""WHERE j.tenant_id = %(next_tenant_id)s AND j.id = (
        SELECT j.id FROM jobs AS j WHERE {IS_WANTED} AND (SELECT count(*) FROM ended) > 0
            AND NOT (SELECT is_outranked FROM polled) FOR UPDATE SKIP LOCKED)"""
_END_AND_CLAIM = Prepared(
    "end_and_claim",
    f"""
WITH {_ENDED}, polled AS (SELECT {is_outranked("(SELECT queue FROM ended)")} AS is_outranked),
{claims(_NEXT)}, stored AS (
    {log_lines.stores(f"{_LINES}{chr(10)}    UNION ALL{chr(10)}{FIRST_LINES}")}
)
SELECT (SELECT count(*) FROM ended), (SELECT is_outranked FROM polled), {CLAIMED_COLUMNS}
FROM (SELECT) AS always LEFT JOIN claimed AS j ON true
""",
)
#: Seconds between replans of statements for several runs. A plan made while the table is nearly empty reads all of it.
_PLAN_SECONDS = 60.0
#: The CTEs that write final ends of several runs.
_TOGETHER = f"""
WITH ended AS (
    UPDATE jobs AS j SET status = r.status, completed_at = clock_timestamp(),
        started_at = {_STARTED_AT.format(seconds="r.seconds", began_at="r.began_at")},
        error = r.error, error_id = r.error_id, output = r.output::json, output_bytes = r.output_bytes,
        progress = coalesce(r.progress::json, j.progress), cpu_us = r.cpu_us, peak_memory_mb = r.peak_memory_mb,
        losses = coalesce(r.losses, j.losses), node_losses = coalesce(r.node_losses, j.node_losses),
        queue = coalesce(r.queue, j.queue)
    FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(run_nos)s::int[], %(claim_ids)s::uuid[], %(statuses)s::text[],
                %(errors)s::text[], %(error_ids)s::uuid[], %(outputs)s::text[], %(output_bytes)s::int[],
                %(progresses)s::text[], %(cpu_us)s::bigint[], %(peaks)s::int[], %(losses)s::int[],
                %(node_losses)s::int[], %(queues)s::text[], %(outcomes)s::text[], %(run_cpu_us)s::bigint[],
                %(run_peaks)s::int[], %(run_waits)s::bigint[], %(began)s::timestamptz[], %(seconds)s::float8[])
         AS r (tenant_id, id, run_no, claim_id, status, error, error_id, output, output_bytes, progress, cpu_us,
               peak_memory_mb, losses, node_losses, queue, outcome, run_cpu_us, run_peak_memory_mb, run_wait_ms,
               began_at, seconds)
    WHERE {OWNS} AND j.stop_status IS NULL
    RETURNING j.tenant_id, j.id, j.run_no, j.attempt, j.started_at, r.outcome, r.run_cpu_us, r.run_peak_memory_mb,
        r.run_wait_ms, {_DURATION}
), runs AS (
    INSERT INTO job_runs (tenant_id, job_id, run_no, attempt, started_at, outcome, cpu_us, peak_memory_mb, wait_ms)
    SELECT tenant_id, id, run_no, attempt, started_at, outcome, run_cpu_us, run_peak_memory_mb, run_wait_ms FROM ended
    WHERE outcome IS NOT NULL
), stored AS (
    {log_lines.stores(log_lines.of_many("ended"))}
)"""
_END_TOGETHER = Prepared(
    "end_together", f"{_TOGETHER}\nSELECT tenant_id, id::text FROM ended", plan_seconds=_PLAN_SECONDS
)
# The result of the check is in each row; without an ended run there is one row.
_END_AND_CHECK = Prepared(
    "end_and_check",
    f"""{_TOGETHER}
SELECT ended.tenant_id, ended.id::text, checked.* FROM (SELECT) AS always LEFT JOIN ended ON true LEFT JOIN LATERAL (
{CHECKS}) AS checked ON true
""",
    plan_seconds=_PLAN_SECONDS,
)
# A job with a rate waits for a permit again, because a rate counts each start; without a rate it keeps its permit. The
# statement reads the rate, because `permits.follow_limits` may have changed it during the run.
REQUEUE = Prepared(
    "requeue",
    f"""
WITH ended AS (
    UPDATE jobs AS j SET status = 'queued',
        waits_for = coalesce(r.waits_for, {CONTAINED}, CASE WHEN j.rate_key IS NOT NULL THEN 'permit' END),
        run_at = clock_timestamp() + r.delay,
        ready_at = coalesce(clock_timestamp() + r.ready_in, j.ready_at),
        published_at = NULL, started_at = NULL, node_id = NULL, attempt = r.attempt, first_run_no = r.first_run_no,
        first_started_at = r.first_started_at, progress = coalesce(r.progress::json, j.progress),
        cpu_us = r.cpu_us, peak_memory_mb = r.peak_memory_mb, losses = coalesce(r.losses, j.losses),
        node_losses = coalesce(r.node_losses, j.node_losses), queue = coalesce(r.queue, j.queue)
    FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(run_nos)s::int[], %(claim_ids)s::uuid[], %(waits_for)s::text[],
                %(delays)s::interval[], %(ready_in)s::interval[], %(attempts)s::int[], %(first_run_nos)s::int[],
                %(first_started)s::timestamptz[], %(progresses)s::text[], %(cpu_us)s::bigint[], %(peaks)s::int[],
                %(losses)s::int[], %(node_losses)s::int[], %(queues)s::text[], %(outcomes)s::text[],
                %(run_attempts)s::int[], %(run_started)s::timestamptz[], %(run_cpu_us)s::bigint[],
                %(run_peaks)s::int[], %(run_waits)s::bigint[])
         AS r (tenant_id, id, run_no, claim_id, waits_for, delay, ready_in, attempt, first_run_no, first_started_at,
               progress, cpu_us, peak_memory_mb, losses, node_losses, queue, outcome, run_attempt, run_started_at,
               run_cpu_us, run_peak_memory_mb, run_wait_ms)
    WHERE {OWNS} AND j.stop_status IS NULL
    RETURNING r.*
), runs AS (
    INSERT INTO job_runs (tenant_id, job_id, run_no, attempt, started_at, outcome, cpu_us, peak_memory_mb, wait_ms)
    SELECT tenant_id, id, run_no, run_attempt, run_started_at, outcome, run_cpu_us, run_peak_memory_mb, run_wait_ms
    FROM ended
    RETURNING tenant_id, job_id AS id, ava_duration(tenant_id, job_id, attempt, started_at, ended_at, outcome) AS ran
), stored AS (
    {log_lines.stores(log_lines.of_many("runs"))}
)
SELECT tenant_id, id::text FROM ended
""",
    plan_seconds=_PLAN_SECONDS,
)
# The closing line contains the status, which the caller does not know.
_CLOSED_LINES = """    SELECT tenant_id, id, l.seq, l.times::timestamptz[],
        l.levels || CASE WHEN l.closing IS NULL THEN '' WHEN ended.status = 'failed' THEN 'e' ELSE 'w' END,
        l.msgs::text[] || array_remove(ARRAY[format(l.closing, ended.status, ended.ran)], NULL)
    FROM unnest(%(owner_tenants)s::text[], %(owners)s::uuid[], %(seqs)s::bigint[], %(times)s::text[],
                %(levels)s::text[], %(msgs)s::text[], %(closings)s::text[])
         AS l (tenant_id, id, seq, times, levels, msgs, closing)
    JOIN ended USING (tenant_id, id)"""
_END_STOPPED = Prepared(
    "end_stopped",
    f"""
WITH ended AS (
    UPDATE jobs AS j SET status = j.stop_status, completed_at = clock_timestamp(), output = r.output::json,
        started_at = coalesce(r.began_at, j.started_at),
        output_bytes = r.output_bytes, progress = coalesce(r.progress::json, j.progress),
        first_run_no = r.first_run_no, cpu_us = r.cpu_us, peak_memory_mb = r.peak_memory_mb,
        losses = coalesce(r.losses, j.losses), node_losses = coalesce(r.node_losses, j.node_losses),
        queue = coalesce(r.queue, j.queue)
    FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(run_nos)s::int[], %(claim_ids)s::uuid[], %(outputs)s::text[],
                %(output_bytes)s::int[], %(progresses)s::text[], %(first_run_nos)s::int[], %(cpu_us)s::bigint[],
                %(peaks)s::int[], %(losses)s::int[], %(node_losses)s::int[], %(queues)s::text[], %(outcomes)s::text[],
                %(run_cpu_us)s::bigint[], %(run_peaks)s::int[], %(run_waits)s::bigint[], %(began)s::timestamptz[])
         AS r (tenant_id, id, run_no, claim_id, output, output_bytes, progress, first_run_no, cpu_us, peak_memory_mb,
               losses, node_losses, queue, outcome, run_cpu_us, run_peak_memory_mb, run_wait_ms, began_at)
    WHERE {OWNS} AND j.stop_status IS NOT NULL
    RETURNING j.tenant_id, j.id, j.run_no, j.attempt, j.started_at, j.status, r.outcome, r.run_cpu_us,
        r.run_peak_memory_mb, r.run_wait_ms, {_DURATION}
), runs AS (
    INSERT INTO job_runs (tenant_id, job_id, run_no, attempt, started_at, outcome, cpu_us, peak_memory_mb, wait_ms)
    SELECT tenant_id, id, run_no, attempt, started_at, CASE outcome WHEN 'stopped' THEN status ELSE outcome END,
        run_cpu_us, run_peak_memory_mb, run_wait_ms
    FROM ended WHERE outcome IS NOT NULL
), stored AS (
    {log_lines.stores(_CLOSED_LINES)}
)
SELECT tenant_id, id::text, status FROM ended
""",
    plan_seconds=_PLAN_SECONDS,
)


def end(connection: Connection, ended: EndedRun) -> Status | None:
    """Write a run's outcome and its last log lines.

    Returns the job's status; None if the run no longer owns its job, and nothing was written.
    """
    if ended.is_plain:
        if _END.run(connection, end_parameters(ended)):
            return ended.values.status
        return end_stopped(connection, [ended]).get(ended.key)
    return end_each(connection, [ended]).get(ended.key)


def end_and_claim(
    connection: Connection, ended: EndedRun, wanted: Claim, *, outranked_by: int = NO_PRIORITY
) -> tuple[Status | None, Job | None, bool]:
    """End a run with a final status and claim the process's next run, in one transaction.

    Skips the claim if another transaction is writing the next job, or if a message with priority `outranked_by` or more
    urgent waits in the queue; by default that is not checked.

    Returns the job's status, the claimed job or None, and whether such a message waits. A status of None means that
    nothing was written or claimed: the run was asked to stop or has lost its job.
    """
    parameters = end_parameters(ended) | wanted.parameters | outranked_parameters(outranked_by)
    ((count, is_outranked, *job),) = _END_AND_CLAIM.run(connection, parameters, before=IN_ORDER)
    return ended.values.status if count else None, claimed_job(job) if job[0] else None, is_outranked


def end_and_check(
    connection: Connection, ended: Sequence[EndedRun], run: RunKey, claim_id: str, *, outranked_by: int = NO_PRIORITY
) -> tuple[dict[JobKey, Status], RunCheck | None]:
    """End runs with final statuses, and check the process's next run, which shares its claim.

    Returns the statuses as `end_each` does, and the response of `claim.check`.
    """
    parameters = final_parameters(in_lock_order(ended)) | check_parameters(run, claim_id, outranked_by)
    found = _END_AND_CHECK.run(connection, parameters, before=IN_ORDER)
    _, _, *checked = found[0]
    statuses = _end_rest(connection, ended, _statuses(ended, [(tenant_id, uuid) for tenant_id, uuid, *_ in found]))
    return statuses, None if checked[0] is None else RunCheck(*checked)


def end_each(connection: Connection, ended: Sequence[EndedRun]) -> dict[JobKey, Status]:
    """Write the outcomes of runs and their last log lines.

    Returns the jobs' statuses, without runs that have lost their jobs.
    """
    final = [each for each in ended if each.is_final]
    queued = [each for each in ended if each.values.status is Status.QUEUED]
    statuses = _write(connection, _END_TOGETHER, final, final_parameters)
    statuses |= _write(connection, REQUEUE, queued, requeue_parameters)
    return _end_rest(connection, ended, statuses)


def _write(
    connection: Connection,
    statement: Prepared,
    ended: Sequence[EndedRun],
    parameters: Callable[[Sequence[EndedRun]], dict[str, object]],
) -> dict[JobKey, Status]:
    return _statuses(ended, statement.run(connection, parameters(in_lock_order(ended)))) if ended else {}


def _statuses(ended: Sequence[EndedRun], found: Iterable[tuple[Any, ...]]) -> dict[JobKey, Status]:
    """Return the statuses of the runs whose rows (tenant, uuid) a statement has returned."""
    written = set(found)
    return {each.key: each.values.status for each in ended if (each.key[0], str(rows.job_uuid(each.key.id))) in written}


def _end_rest(
    connection: Connection, ended: Sequence[EndedRun], statuses: dict[JobKey, Status]
) -> dict[JobKey, Status]:
    """End the runs without a status if they were asked to stop; return all statuses."""
    return statuses | end_stopped(connection, [each for each in ended if each.key not in statuses])


def end_stopped(connection: Connection, ended: Sequence[EndedRun]) -> dict[JobKey, Status]:
    """End runs that were asked to stop, whatever their outcome. Returns the statuses of the ended jobs."""
    if not ended:
        return {}
    found = _END_STOPPED.run(connection, stopped_parameters(in_lock_order(ended)))
    return {JobKey(tenant_id, ids.encode("job", uuid)): Status(status) for tenant_id, uuid, status in found}


_WRITTEN = Statement("""
SELECT j.tenant_id, j.id::text, j.status
FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(run_nos)s::int[], %(claim_ids)s::uuid[])
     AS r (tenant_id, id, run_no, claim_id)
JOIN jobs AS j ON j.tenant_id = r.tenant_id AND j.id = r.id AND j.run_no = r.run_no AND j.claim_id = r.claim_id
WHERE j.status IS DISTINCT FROM 'running'
""")


def written(connection: Connection, ended: Sequence[EndedRun]) -> dict[JobKey, Status]:
    """Return the statuses of jobs that an earlier attempt ended before its response was lost.

    Leaves out jobs that were claimed again, because a claim replaces the run number and claim id.
    """
    parameters = {
        "tenants": [each.outcome.run.tenant_id for each in ended],
        "ids": [rows.job_uuid(each.outcome.run.job_id) for each in ended],
        "run_nos": [each.outcome.run.run_no for each in ended],
        "claim_ids": [each.claim_id for each in ended],
    }
    found = connection.exec_driver_sql(_WRITTEN, parameters)
    return {JobKey(tenant_id, ids.encode("job", uuid)): Status(status) for tenant_id, uuid, status in found}
