"""The moves of a job that its run makes: claim, log, end. `ava.store.jobs.rescues` has those made on behalf of a run.

A run is one claim of a job by one process. Its number and the claim's id are the fence: every statement here compares
them, so that a process that lost its claim cannot write to the job. The number alone is not enough, because after a
failover that lost transactions another claim may get the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ava.domain.job import Job, LogLine, RunEnd, Status
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.moves.rules import HAS_SETTINGS, IS_PAUSED

__all__ = [
    "ENDED",
    "ENDED_AND_CLAIMED",
    "OPENING",
    "SEQ_OF_OTHERS",
    "SEQ_PER_RUN",
    "Claim",
    "append_lines",
    "array",
    "claim",
    "claimed",
    "claimed_job",
    "columns",
    "end",
    "end_and_claim",
    "end_parameters",
    "is_held",
    "names_other_worker",
    "quote",
    "show",
]

#: A line's `seq` is the run's number times this, plus the line's number in the run.
SEQ_PER_RUN = 2**32
#: The first log line of a run.
OPENING = "Worker handler started"
#: Lines that another process writes about a run start here, after all lines that the run itself could write.
SEQ_OF_OTHERS = 2**31

# Statements that name a job by its id compare its status with IS NOT DISTINCT FROM. It means the same as `=` because
# the column is never null, and it keeps the planner to the primary key, in place of a partial index on the status.

_CLAIM = Prepared(
    "claim",
    f"""
WITH claimed AS (
    UPDATE jobs AS j SET status = 'running', started_at = clock_timestamp(), node_id = %(node_id)s::uuid,
        claim_id = %(claim_id)s::uuid, run_no = j.run_no + 1, attempt = j.attempt + 1, progress = NULL
    WHERE j.id = %(next_id)s::uuid AND j.run_no = %(next_run_no)s - 1
        AND j.status IS NOT DISTINCT FROM 'queued' AND j.waits_for IS NULL AND j.worker_id = %(next_worker_id)s
        AND NOT {IS_PAUSED}
    RETURNING j.*
), stored AS (
    INSERT INTO job_logs (job_id, seq, ts, level, msg)
    SELECT id, run_no * {SEQ_PER_RUN}, started_at, 'info', %(opening)s FROM claimed
    ON CONFLICT DO NOTHING
)
SELECT {rows.JOB_COLUMNS}, {HAS_SETTINGS} FROM claimed AS j
""",
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The run that a process asks to start."""

    job_id: str
    run_no: int
    #: The worker that the message names. The claim fails unless the job's row names the same one.
    worker_id: str
    #: The process's node.
    node_id: str
    #: A UUID, part of the fence. `claimed` finds this claim by it if its result was lost.
    claim_id: str | None = None
    #: The run's first log line.
    opening: str = OPENING

    @property
    def parameters(self) -> dict[str, object]:
        """Returns the parameters of the statements."""
        return {
            "next_id": rows.job_uuid(self.job_id),
            "next_run_no": self.run_no,
            "next_worker_id": self.worker_id,
            "node_id": self.node_id,
            "opening": self.opening,
            "claim_id": self.claim_id,
        }


def claim(connection: Connection, wanted: Claim) -> Job | None:
    """Start a run.

    Returns None if the message is a duplicate or names another worker, the job is not due, or its worker is paused.
    """
    found = _CLAIM.run(connection, wanted.parameters)
    return claimed_job(found[0]) if found else None


def claimed_job(row: Any) -> Job:
    """Returns the job of a row of `JOB_COLUMNS` and `HAS_SETTINGS`."""
    job = rows.job(row)
    return replace(job, has_settings=True) if row[-1] else job


_CLAIMED = Statement(f"""
SELECT {rows.JOB_COLUMNS}, {HAS_SETTINGS} FROM jobs AS j
WHERE j.id = %(next_id)s::uuid AND j.run_no = %(next_run_no)s AND j.claim_id = %(claim_id)s::uuid
    AND j.status IS NOT DISTINCT FROM 'running'
""")


def claimed(connection: Connection, wanted: Claim) -> Job | None:
    """Returns the job of a claim whose result was lost. Returns None if the claim did not commit."""
    row = connection.exec_driver_sql(_CLAIMED, wanted.parameters).first()
    return None if row is None else claimed_job(row)


_IS_HELD = Statement("""
SELECT 1 FROM jobs WHERE id = %(id)s::uuid AND run_no = %(run_no)s AND status IS NOT DISTINCT FROM 'running'
    AND claim_id IS NOT DISTINCT FROM %(held_claim_id)s::uuid
""")


def is_held(connection: Connection, *, job_id: str, run_no: int, claim_id: str | None = None) -> bool:
    """Returns True if a run still holds its job."""
    parameters = {"id": rows.job_uuid(job_id), "run_no": run_no, "held_claim_id": claim_id}
    return connection.exec_driver_sql(_IS_HELD, parameters).first() is not None


_NAMES_OTHER_WORKER = Statement("""
SELECT 1 FROM jobs WHERE id = %(id)s::uuid AND worker_id <> %(worker_id)s
""")


def names_other_worker(connection: Connection, *, job_id: str, worker_id: str) -> bool:
    """Returns True if the job's row names another worker, so that a message with `worker_id` was forged."""
    parameters = {"id": rows.job_uuid(job_id), "worker_id": worker_id}
    return connection.exec_driver_sql(_NAMES_OTHER_WORKER, parameters).first() is not None


_SHOW = Statement(f"SELECT {rows.JOB_COLUMNS} FROM jobs AS j WHERE j.id = %(id)s::uuid")


def show(connection: Connection, job_id: str) -> Job | None:
    """Returns a run's job, of any tenant. It is for our own processes, never for clients."""
    row = connection.exec_driver_sql(_SHOW, {"id": rows.job_uuid(job_id)}).first()
    return None if row is None else rows.job(row)


_APPEND_LINES = Prepared(
    "append_lines",
    """
WITH alive AS (
    UPDATE jobs SET progress = coalesce(%(progress)s::json, progress)
    WHERE id = %(id)s::uuid AND run_no = %(run_no)s AND status IS NOT DISTINCT FROM 'running'
        AND claim_id IS NOT DISTINCT FROM %(held_claim_id)s::uuid AND %(progress)s::json IS NOT NULL
    RETURNING id
), held AS (
    SELECT id FROM jobs WHERE id = %(id)s::uuid AND run_no = %(run_no)s AND status IS NOT DISTINCT FROM 'running'
        AND claim_id IS NOT DISTINCT FROM %(held_claim_id)s::uuid
), stored AS (
    INSERT INTO job_logs (job_id, seq, ts, level, msg)
    SELECT held.id, l.seq, l.ts, l.level, l.msg
    FROM held, unnest(%(seqs)s::bigint[], %(times)s::timestamptz[], %(levels)s::text[], %(msgs)s::text[])
         AS l (seq, ts, level, msg)
    ON CONFLICT DO NOTHING
)
SELECT id FROM held
""",
)


def append_lines(
    connection: Connection,
    *,
    job_id: str,
    run_no: int,
    claim_id: str | None = None,
    lines: Sequence[LogLine],
    progress_json: str | None = None,
) -> bool:
    """Store a run's log lines and progress. Returns False, and stores nothing, if the run has lost its claim."""
    parameters = {"id": rows.job_uuid(job_id), "run_no": run_no, "held_claim_id": claim_id, "progress": progress_json}
    parameters |= columns(lines)
    return bool(_APPEND_LINES.run(connection, parameters))


#: The CTE `ended`: the end of a run is written to its job.
ENDED = """ended AS (
    UPDATE jobs SET
        status = CASE WHEN cancel_requested_at IS NULL THEN %(status)s ELSE 'cancelled' END,
        completed_at = CASE WHEN cancel_requested_at IS NOT NULL OR %(status)s <> 'queued' THEN clock_timestamp() END,
        output = %(output)s::json, output_bytes = %(output_bytes)s,
        error = CASE WHEN cancel_requested_at IS NULL THEN %(error)s END,
        error_id = CASE WHEN cancel_requested_at IS NULL THEN %(error_id)s::uuid END,
        progress = coalesce(%(progress)s::json, progress),
        waits_for = CASE WHEN cancel_requested_at IS NULL AND %(status)s = 'queued' THEN 'date' END,
        run_at = CASE WHEN cancel_requested_at IS NULL AND %(status)s = 'queued'
                      THEN clock_timestamp() + %(retry_in)s * interval '1 second' END,
        published_at = CASE WHEN cancel_requested_at IS NULL AND %(status)s = 'queued' THEN NULL ELSE published_at END,
        started_at = CASE WHEN cancel_requested_at IS NULL AND %(status)s = 'queued' THEN NULL ELSE started_at END,
        attempt = attempt - CASE WHEN cancel_requested_at IS NULL AND %(gives_back)s THEN 1 ELSE 0 END,
        node_id = CASE WHEN cancel_requested_at IS NULL AND %(status)s = 'queued' THEN NULL ELSE node_id END
    WHERE id = %(id)s::uuid AND run_no = %(run_no)s AND status IS NOT DISTINCT FROM 'running'
        AND claim_id IS NOT DISTINCT FROM %(held_claim_id)s::uuid
        AND (cancel_requested_at IS NOT NULL OR %(status)s <> 'cancelled')
    RETURNING id, status, tenant_id, limit_key, worker_id, queue
)"""
# The last log lines of the run in `ended`, as rows of `job_logs`.
_LAST_LINES = """    SELECT ended.id, l.seq, l.ts,
           CASE WHEN l.is_closing AND ended.status = 'cancelled' THEN %(cancelled_level)s ELSE l.level END,
           CASE WHEN l.is_closing AND ended.status = 'cancelled' THEN %(cancelled_msg)s ELSE l.msg END
    FROM ended, unnest(%(seqs)s::bigint[], %(times)s::timestamptz[], %(levels)s::text[], %(msgs)s::text[],
                       %(closings)s::bool[])
         AS l (seq, ts, level, msg, is_closing)"""
#: Stores the first line of the run that the CTE `claimed` has started, and returns what `end_and_claim` reads.
ENDED_AND_CLAIMED = f"""stored AS (
    INSERT INTO job_logs (job_id, seq, ts, level, msg)
{_LAST_LINES}
    UNION ALL
    SELECT id, run_no * {SEQ_PER_RUN}, started_at, 'info', %(opening)s FROM claimed
    ON CONFLICT DO NOTHING
)
SELECT (SELECT status FROM ended), {rows.JOB_COLUMNS}, {HAS_SETTINGS}
FROM (SELECT) AS always LEFT JOIN claimed AS j ON true"""
_END = Prepared(
    "end",
    f"""
WITH {ENDED}, stored AS (
    INSERT INTO job_logs (job_id, seq, ts, level, msg)
{_LAST_LINES}
    ON CONFLICT DO NOTHING
)
SELECT status FROM ended
""",
)
# The ended job's row is locked first, and the next job's row is not waited for: a statement that cancels many jobs may
# hold the next one and wait for the ended one.
_END_AND_CLAIM = Prepared(
    "end_and_claim",
    f"""
WITH {ENDED}, claimed AS (
    UPDATE jobs AS j SET status = 'running', started_at = clock_timestamp(), node_id = %(node_id)s::uuid,
        claim_id = %(claim_id)s::uuid, run_no = j.run_no + 1, attempt = j.attempt + 1, progress = NULL
    WHERE j.id = (
        SELECT j.id FROM jobs AS j
        WHERE j.id = %(next_id)s::uuid AND j.run_no = %(next_run_no)s - 1
            AND j.status IS NOT DISTINCT FROM 'queued' AND j.waits_for IS NULL AND j.worker_id = %(next_worker_id)s
            AND NOT {IS_PAUSED} AND (SELECT count(*) FROM ended) >= 0
        FOR UPDATE SKIP LOCKED)
    RETURNING j.*
), {ENDED_AND_CLAIMED}
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
) -> tuple[Status | None, Job | None]:
    """End a run and start the process's next one, in one transaction. Returns what `end` and `claim` return.

    A job that another transaction writes at this moment is not waited for, and not claimed.
    """
    parameters = end_parameters(run_end, lines, progress_json, claim_id) | wanted.parameters
    ((status, *job),) = _END_AND_CLAIM.run(connection, parameters)
    return Status(status) if status else None, claimed_job(job) if job[0] else None


def end_parameters(
    run_end: RunEnd, lines: Sequence[LogLine], progress_json: str | None, claim_id: str | None
) -> dict[str, object]:
    """Returns the parameters of the statements that write the end of a run."""
    cancelled_level, cancelled_msg = run_end.closing_if_cancelled
    return {
        "id": rows.job_uuid(run_end.job_id),
        "run_no": run_end.run_no,
        "held_claim_id": claim_id,
        "status": run_end.status.value,
        "output": run_end.output_json,
        "output_bytes": rows.large_bytes(run_end.output_json),
        "error": run_end.error,
        "error_id": run_end.error_id,
        "retry_in": run_end.retry_in_seconds or 0,
        "gives_back": run_end.put_off is not None,
        "progress": progress_json,
        "cancelled_msg": cancelled_msg,
        "cancelled_level": cancelled_level.value,
        "closings": array(["f"] * (len(lines) - 1) + ["t"]),
        **columns(lines),
    }


def columns(lines: Sequence[LogLine]) -> dict[str, str]:
    """Returns the lines as array literals, which PostgreSQL reads much faster than as many expressions."""
    return {
        "seqs": array([str(line.seq) for line in lines]),
        "times": array([line.ts.isoformat() for line in lines]),
        "levels": array([line.level.value for line in lines]),
        "msgs": array([quote(line.msg) for line in lines]),
    }


def array(elements: Sequence[str]) -> str:
    """Returns elements as the literal of an array; a text is an element after `quote`."""
    return "{" + ",".join(elements) + "}"


def quote(text: str) -> str:
    """Returns a text as an element of an array literal (PostgreSQL manual, "Array Input and Output Syntax")."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
