"""The ends of runs that their own processes write: they complete, fail, are cancelled, or return to the queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ava.domain import ids
from ava.domain.jobs.job import Job, JobKey, LogLine, RunEnd, RunKey, Status
from ava.store.engine.arrays import array, texts
from ava.store.engine.database import Connection
from ava.store.engine.plans import IN_ORDER
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.moves import log_lines
from ava.store.jobs.moves.claim import (
    CLAIMED_COLUMNS,
    FIRST_LINES,
    IS_WANTED,
    NO_PRIORITY,
    Claim,
    claimed_job,
    claims,
    is_outranked,
    looked_for,
)
from ava.store.jobs.moves.log_lines import columns, rows_of
from ava.store.jobs.moves.rules import OWNS, STOPPED_STATUS, end_set

# A cancel that was requested while the run went on decides, whatever the handler did.
_STATUS = f"(CASE WHEN j.cancel_requested_at IS NULL THEN r.status ELSE {STOPPED_STATUS} END)"


def ends(runs: str, *, waits_for: str | None = None, is_unbegun: bool = False) -> str:
    """Returns the CTE `ended`, which writes the ends of runs; `runs` is a SELECT of what `end_set` and this need.

    `is_unbegun`: their handlers were not entered.
    """
    moved = end_set(
        _STATUS,
        started_at="coalesce(r.started_at, j.started_at)",
        waits_for=waits_for,
        is_unbegun=str(is_unbegun).lower(),
    )
    return f"""ended AS (
    UPDATE jobs AS j SET
        {moved},
        output = r.output, output_bytes = r.output_bytes, progress = coalesce(r.progress, j.progress),
        error_id = CASE WHEN {_STATUS} = 'failed' THEN r.error_id END
    FROM ({runs}) AS r
    WHERE {OWNS} AND (j.cancel_requested_at IS NOT NULL OR r.status <> 'cancelled')
    RETURNING j.tenant_id, j.id, j.run_no, j.attempt, j.status, j.queue
)"""


#: What `ends` needs of a single run.
ONE_END = """
        SELECT %(tenant_id)s AS tenant_id, %(id)s::uuid AS id, %(run_no)s::int AS run_no,
            %(held_claim_id)s::uuid AS claim_id,
            %(status)s::text AS status, %(error)s::text AS error, %(error_id)s::uuid AS error_id,
            %(output)s::json AS output, %(output_bytes)s::int AS output_bytes, %(progress)s::json AS progress,
            %(retry_in)s::float8 * interval '1 second' AS delay, %(gives_back)s::bool AS gives_back,
            NULL::timestamptz AS started_at, %(cpu_us)s::bigint AS cpu_us, %(peak_memory_mb)s::int AS peak_memory_mb"""
#: The CTE `ended` of a single run.
ENDED = ends(ONE_END)
# The row of a run's last lines has another closing line if a stop was requested: a cancelled job, or one whose deadline
# has passed.
_IS_STOPPED = "l.stopped_msg IS NOT NULL AND ended.status IN ('cancelled', 'failed')"
_LEVELS = f"""CASE WHEN {_IS_STOPPED} THEN left(l.levels, -1) || CASE ended.status WHEN 'failed' THEN 'e' ELSE 'w' END
            ELSE l.levels END"""
_MSGS = f"""CASE WHEN {_IS_STOPPED} THEN trim_array(l.msgs::text[], 1) || format(l.stopped_msg, ended.status)
            ELSE l.msgs::text[] END"""
#: The last log lines of the run in `ended`, as rows of `job_logs`.
LAST_LINES = f"""    SELECT ended.tenant_id, ended.id, l.seq, l.times::timestamptz[], {_LEVELS}, {_MSGS}
    FROM ended, unnest(%(seqs)s::bigint[], %(times)s::text[], %(levels)s::text[], %(msgs)s::text[],
                       %(stopped_msgs)s::text[])
         AS l (seq, times, levels, msgs, stopped_msg)"""
_END = Prepared(
    "end",
    f"""
WITH {ENDED}, stored AS (
    {log_lines.stores(LAST_LINES)}
)
SELECT status FROM ended
""",
)
# The ended job's row is locked first, and the next job's row is not waited for: a statement that cancels many jobs may
# hold the next one and wait for the ended one.
_NEXT = f"""WHERE j.tenant_id = %(next_tenant_id)s AND j.id = (
        SELECT j.id FROM jobs AS j WHERE {IS_WANTED} AND (SELECT count(*) FROM ended) >= 0
            AND NOT (SELECT is_outranked FROM looked) FOR UPDATE SKIP LOCKED)"""
_END_AND_CLAIM = Prepared(
    "end_and_claim",
    f"""
WITH {ENDED}, looked AS (SELECT {is_outranked("(SELECT queue FROM ended)")} AS is_outranked),
{claims(_NEXT)}, stored AS (
    {log_lines.stores(f"{LAST_LINES}{chr(10)}    UNION ALL{chr(10)}{FIRST_LINES}")}
)
SELECT (SELECT status FROM ended), (SELECT is_outranked FROM looked), {CLAIMED_COLUMNS}
FROM (SELECT) AS always LEFT JOIN claimed AS j ON true
""",
)


def end(
    connection: Connection,
    run_end: RunEnd,
    lines: Sequence[LogLine],
    progress_json: str | None = None,
    *,
    claim_id: str | None = None,
) -> Status | None:
    """Write how a run ended, with its last log lines: the closing line comes last.

    Returns the job's status, which is `cancelled` if a cancel was requested while it ran, whatever the handler did.
    Returns None if the run has lost its job; then nothing is written.
    """
    found = _END.run(connection, end_parameters(run_end, lines, progress_json, claim_id))
    return Status(found[0][0]) if found else None


def end_and_claim(
    connection: Connection,
    run_end: RunEnd,
    lines: Sequence[LogLine],
    progress_json: str | None,
    wanted: Claim,
    *,
    claim_id: str | None = None,
    outranked_by: int = NO_PRIORITY,
) -> tuple[Status | None, Job | None, bool]:
    """End a run and start the process's next one, in one transaction.

    A job that another transaction writes at this moment is not waited for, and not claimed. Nor is one if the message
    of a job waits in the queue whose priority is `outranked_by` or more urgent; by default none is looked for.

    Returns what `end` and `claim` return, and whether such a message waits.
    """
    parameters = end_parameters(run_end, lines, progress_json, claim_id) | wanted.parameters | looked_for(outranked_by)
    ((status, is_outranked, *job),) = _END_AND_CLAIM.run(connection, parameters, before=IN_ORDER)
    return Status(status) if status else None, claimed_job(job) if job[0] else None, is_outranked


def end_parameters(
    run_end: RunEnd, lines: Sequence[LogLine], progress_json: str | None, claim_id: str | None
) -> dict[str, object]:
    """Returns the parameters of the statements that write the end of a run."""
    of_rows = rows_of(lines)
    return {
        **rows.run_parameters(run_end.run),
        "held_claim_id": claim_id,
        "status": run_end.status.value,
        "output": run_end.output_json,
        "output_bytes": rows.large_bytes(run_end.output_json),
        "error": run_end.error,
        "error_id": run_end.error_id,
        "retry_in": run_end.retry_in_seconds or 0,
        "gives_back": run_end.put_off is not None or run_end.wait is not None,
        "progress": progress_json,
        "cpu_us": run_end.usage.cpu_us,
        "peak_memory_mb": run_end.usage.peak_memory_mb,
        "stopped_msgs": texts([None] * (len(of_rows) - 1) + [run_end.closing_if_stopped]),
        **columns(of_rows),
    }


@dataclass(frozen=True, kw_only=True)
class CompletedRun:
    """A run whose handler has returned, and what is to be written of it."""

    end: RunEnd
    #: The id of its claim.
    claim_id: str
    #: When its handler began.
    began_at: datetime
    #: The log lines that are not stored yet; the closing line comes last.
    lines: Sequence[LogLine]
    progress_json: str | None


#: Seconds after which the statement is planned anew. Its plan while the table is nearly empty reads all of it.
_PLAN_SECONDS = 60.0
# `completed_at` is not earlier than the transaction, because the counts of ended jobs rely on it. `started_at` moves
# with it by up to 0.1 s, so that a job's duration is that of its handler.
_COMPLETED = """
        SELECT u.tenant_id, u.id, u.run_no, u.claim_id, 'completed' AS status, NULL AS error,
            NULL::uuid AS error_id, u.output::json, u.output_bytes, u.progress::json, NULL::interval AS delay,
            false AS gives_back,
            least(clock_timestamp() - u.seconds * interval '1 second', u.began_at + interval '0.1 second')
            AS started_at, u.cpu_us, u.peak_memory_mb
        FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(run_nos)s::int[], %(claim_ids)s::uuid[],
                    %(began)s::timestamptz[], %(seconds)s::float8[], %(outputs)s::text[], %(output_bytes)s::int[],
                    %(progresses)s::text[], %(cpu_us)s::bigint[], %(peaks)s::int[])
             AS u (tenant_id, id, run_no, claim_id, began_at, seconds, output, output_bytes, progress, cpu_us,
                   peak_memory_mb)"""
_LINES_OF_ALL = f"""    SELECT ended.tenant_id, ended.id, l.seq, l.times::timestamptz[], {_LEVELS}, {_MSGS}
    FROM unnest(%(owner_tenants)s::text[], %(owners)s::uuid[], %(seqs)s::bigint[], %(times)s::text[],
                %(levels)s::text[], %(msgs)s::text[], %(stopped_msgs)s::text[])
         AS l (tenant_id, job_id, seq, times, levels, msgs, stopped_msg)
    JOIN ended ON ended.tenant_id = l.tenant_id AND ended.id = l.job_id"""
_END_TOGETHER = Prepared(
    "end_together",
    f"""
WITH {ends(_COMPLETED)}, stored AS (
    {log_lines.stores(_LINES_OF_ALL)}
)
SELECT tenant_id, id::text, status FROM ended
""",
    plan_seconds=_PLAN_SECONDS,
)


def end_together(connection: Connection, completed: Sequence[CompletedRun]) -> dict[JobKey, Status]:
    """Write the ends of completed runs. Returns the jobs' statuses, without those that were lost.

    A status is `cancelled` if a cancel was requested while the job ran, as with `end`.
    """
    # In the order of the ids, as a statement that cancels many jobs locks them.
    ordered = sorted(completed, key=lambda each: each.end.run.job_id)
    found = _END_TOGETHER.run(connection, _parameters_of_all(ordered))
    return {JobKey(tenant_id, ids.encode("job", id_)): Status(status) for tenant_id, id_, status in found}


def _parameters_of_all(completed: Sequence[CompletedRun]) -> dict[str, object]:
    all_rows = [(each, row) for each in completed for row in rows_of(each.lines)]
    return {
        "tenants": texts([each.end.run.tenant_id for each in completed]),
        "ids": array([str(rows.job_uuid(each.end.run.job_id)) for each in completed]),
        "run_nos": array([str(each.end.run.run_no) for each in completed]),
        "claim_ids": array([each.claim_id for each in completed]),
        "began": array([str(each.began_at) for each in completed]),
        "seconds": array([str(_seconds(each)) for each in completed]),
        "outputs": texts([each.end.output_json for each in completed]),
        "output_bytes": array([_number(rows.large_bytes(each.end.output_json)) for each in completed]),
        "progresses": texts([each.progress_json for each in completed]),
        "cpu_us": array([_number(each.end.usage.cpu_us) for each in completed]),
        "peaks": array([_number(each.end.usage.peak_memory_mb) for each in completed]),
        "owner_tenants": texts([each.end.run.tenant_id for each, _ in all_rows]),
        "owners": array([str(rows.job_uuid(each.end.run.job_id)) for each, _ in all_rows]),
        "stopped_msgs": texts(
            [each.end.closing_if_stopped if row[-1] is each.lines[-1] else None for each, row in all_rows]
        ),
        **columns([row for _, row in all_rows]),
    }


def _number(value: int | None) -> str:
    return "NULL" if value is None else str(value)


def _seconds(completed: CompletedRun) -> float:
    return (completed.lines[-1].ts - completed.began_at).total_seconds()


_UNBEGUN = """
        SELECT u.*, 'queued' AS status, NULL AS error, NULL::uuid AS error_id, NULL::json AS output,
            NULL::int AS output_bytes, NULL::json AS progress, NULL::interval AS delay, true AS gives_back,
            NULL::timestamptz AS started_at, NULL::bigint AS cpu_us, NULL::int AS peak_memory_mb
        FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(run_nos)s::int[], %(claim_ids)s::uuid[])
             AS u (tenant_id, id, run_no, claim_id)"""
_GIVE_BACK = Statement(f"WITH {ends(_UNBEGUN, is_unbegun=True)}\nSELECT count(*) FROM ended")


def give_back(connection: Connection, unbegun: Sequence[tuple[RunKey, str]]) -> int:
    """Return claimed runs, each with the id of its claim, that have not begun to the backlog.

    One of which a cancel was requested is cancelled. Returns the number of jobs.
    """
    parameters = {
        "tenants": texts([run.tenant_id for run, _ in unbegun]),
        "ids": array([str(rows.job_uuid(run.job_id)) for run, _ in unbegun]),
        "run_nos": array([str(run.run_no) for run, _ in unbegun]),
        "claim_ids": array([claim_id for _, claim_id in unbegun]),
    }
    return int(connection.exec_driver_sql(_GIVE_BACK, parameters).scalar_one())
