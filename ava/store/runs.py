"""The moves of a job that its run makes: claim, log, end, and being taken back.

A run is one claim of a job by one process. Its number is the fence: every statement here carries it, so that a
process that lost its right to a job cannot write to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ava.domain.job import Ending, Job, LogLine, Status
from ava.domain.retry import MOST_LOSSES
from ava.store import rows
from ava.store.database import Connection
from ava.store.prepared import Prepared

__all__ = [
    "SEQ_PER_RUN",
    "Claim",
    "End",
    "append_lines",
    "claim",
    "claimed",
    "defer",
    "end",
    "end_and_claim",
    "forfeit",
    "is_held",
    "kill_end",
    "show",
    "take_back",
    "take_back_from_dead_nodes",
]

#: A line's `seq` is the run's number times this, and its number in the run.
SEQ_PER_RUN = 2**32
#: Lines that somebody else writes about a run come after all that the run itself could write.
SEQ_OF_OTHERS = 2**31

# Where a job is named by its id, its state is compared with IS NOT DISTINCT FROM. It means the same as `=`, for the
# column is never null, and keeps the planner to the primary key: it would take a partial index on the state instead.

_CLAIMED = """claimed AS (
    UPDATE jobs AS j SET status = 'running', started_at = clock_timestamp(), node_id = %(node_id)s::uuid,
        claim_id = %(claim_id)s::uuid, run_no = j.run_no + 1, attempt = j.attempt + 1, progress = NULL
    WHERE {claimable}
    RETURNING j.*
)"""
_OPENING_LINE = f"SELECT id, run_no * {SEQ_PER_RUN}, started_at, 'info', %(opening)s FROM claimed"
_CLAIMABLE = """j.id = %(next_id)s::uuid AND j.run_no = %(next_run_no)s - 1
        AND j.status IS NOT DISTINCT FROM 'queued' AND j.run_at IS NULL"""
_STORED = "stored AS (INSERT INTO job_logs (job_id, seq, ts, level, msg) {lines} ON CONFLICT DO NOTHING)"
_CLAIM = Prepared(
    "claim",
    f"""
WITH {_CLAIMED.format(claimable=_CLAIMABLE)}, {_STORED.format(lines=_OPENING_LINE)}
SELECT {rows.JOB_COLUMNS} FROM claimed AS j
""",
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Which run of which job a process would start."""

    job_id: str
    run_no: int
    #: The node that it belongs to.
    node_id: str
    #: A UUID by which `claimed` knows this claim again, should its answer be lost.
    claim_id: str | None = None
    #: The run's first log line.
    opening: str = "Worker handler started"

    @property
    def parameters(self) -> dict[str, object]:
        """The claim as the statements have it."""
        return {
            "next_id": rows.job_uuid(self.job_id),
            "next_run_no": self.run_no,
            "node_id": self.node_id,
            "opening": self.opening,
            "claim_id": self.claim_id,
        }


def claim(connection: Connection, wanted: Claim) -> Job | None:
    """Start a run; None where it is not to be had: a duplicate, or cancelled, or not due."""
    found = _CLAIM.run(connection, wanted.parameters)
    return rows.job(found[0]) if found else None


_BY_CLAIM = f"""
SELECT {rows.JOB_COLUMNS} FROM jobs AS j
WHERE j.id = %(next_id)s::uuid AND j.run_no = %(next_run_no)s AND j.claim_id = %(claim_id)s::uuid
    AND j.status IS NOT DISTINCT FROM 'running'
"""


def claimed(connection: Connection, wanted: Claim) -> Job | None:
    """The run that a claim has started whose answer was lost; None where it had not come through."""
    row = connection.exec_driver_sql(_BY_CLAIM, wanted.parameters).first()
    return None if row is None else rows.job(row)


def is_held(connection: Connection, *, job_id: str, run_no: int) -> bool:
    """Whether a run still has its right to the job."""
    statement = """SELECT 1 FROM jobs WHERE id = %(id)s::uuid AND run_no = %(run_no)s
                   AND status IS NOT DISTINCT FROM 'running'"""
    return connection.exec_driver_sql(statement, {"id": rows.job_uuid(job_id), "run_no": run_no}).first() is not None


def show(connection: Connection, job_id: str) -> Job | None:
    """The job of a run, whoever's it is; for ourselves, never for clients."""
    statement = f"SELECT {rows.JOB_COLUMNS} FROM jobs AS j WHERE j.id = %(id)s::uuid"
    row = connection.exec_driver_sql(statement, {"id": rows.job_uuid(job_id)}).first()
    return None if row is None else rows.job(row)


_APPEND = Prepared(
    "append_lines",
    """
WITH alive AS (
    UPDATE jobs SET progress = coalesce(%(progress)s::json, progress)
    WHERE id = %(id)s::uuid AND run_no = %(run_no)s AND status IS NOT DISTINCT FROM 'running'
        AND %(progress)s::json IS NOT NULL
    RETURNING id
), held AS (
    SELECT id FROM jobs WHERE id = %(id)s::uuid AND run_no = %(run_no)s AND status IS NOT DISTINCT FROM 'running'
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
    connection: Connection, *, job_id: str, run_no: int, lines: Sequence[LogLine], progress_json: str | None = None
) -> bool:
    """Store what a run logged and how far it is; False where the run has lost its right, and nothing was stored."""
    parameters = {"id": rows.job_uuid(job_id), "run_no": run_no, "progress": progress_json, **_columns(lines)}
    return bool(_APPEND.run(connection, parameters))


_ENDED = """ended AS (
    UPDATE jobs SET
        status = CASE WHEN cancel_requested_at IS NULL THEN %(status)s ELSE 'cancelled' END,
        completed_at = CASE WHEN cancel_requested_at IS NOT NULL OR %(status)s <> 'queued' THEN clock_timestamp() END,
        output = %(output)s::json,
        error = CASE WHEN cancel_requested_at IS NULL THEN %(error)s END,
        progress = coalesce(%(progress)s::json, progress),
        run_at = CASE WHEN cancel_requested_at IS NULL AND %(status)s = 'queued'
                      THEN clock_timestamp() + %(retry_in)s * interval '1 second' END,
        published_at = CASE WHEN cancel_requested_at IS NULL AND %(status)s = 'queued' THEN NULL ELSE published_at END,
        started_at = CASE WHEN cancel_requested_at IS NULL AND %(status)s = 'queued' THEN NULL ELSE started_at END,
        node_id = CASE WHEN cancel_requested_at IS NULL AND %(status)s = 'queued' THEN NULL ELSE node_id END
    WHERE id = %(id)s::uuid AND run_no = %(run_no)s AND status IS NOT DISTINCT FROM 'running'
        AND (cancel_requested_at IS NOT NULL OR %(status)s <> 'cancelled')
    RETURNING id, status
)"""
_LAST_LINES = """
    SELECT ended.id, l.seq, l.ts,
           CASE WHEN l.is_closing AND ended.status = 'cancelled' THEN %(cancelled_level)s ELSE l.level END,
           CASE WHEN l.is_closing AND ended.status = 'cancelled' THEN %(cancelled_msg)s ELSE l.msg END
    FROM ended, unnest(%(seqs)s::bigint[], %(times)s::timestamptz[], %(levels)s::text[], %(msgs)s::text[],
                       %(closings)s::bool[])
         AS l (seq, ts, level, msg, is_closing)"""
_END = Prepared("end", f"WITH {_ENDED}, {_STORED.format(lines=_LAST_LINES)} SELECT status FROM ended")
# Whoever cancels many jobs may hold the next one and wait for this one. So this one is taken first, and then nobody is
# waited for.
_NEXT_CLAIMABLE = f"""j.id = (SELECT j.id FROM jobs AS j WHERE {_CLAIMABLE}
        AND (SELECT count(*) FROM ended) >= 0 FOR UPDATE SKIP LOCKED)"""
_END_AND_CLAIM = Prepared(
    "end_and_claim",
    f"""
WITH {_ENDED}, {_CLAIMED.format(claimable=_NEXT_CLAIMABLE)},
{_STORED.format(lines=f"{_LAST_LINES} UNION ALL {_OPENING_LINE}")}
SELECT (SELECT status FROM ended), {rows.JOB_COLUMNS} FROM (SELECT) AS always LEFT JOIN claimed AS j ON true
""",
)


@dataclass(frozen=True, kw_only=True)
class End:
    """How a run ended."""

    job_id: str
    run_no: int
    ending: Ending
    #: What it logged last.
    lines: Sequence[LogLine]
    progress_json: str | None = None

    @property
    def parameters(self) -> dict[str, object]:
        """The end as the statements have it."""
        ending = self.ending
        return {
            "id": rows.job_uuid(self.job_id),
            "run_no": self.run_no,
            "status": ending.status.value,
            "output": ending.output_json,
            "error": ending.error,
            "retry_in": ending.retry_in_seconds or 0,
            "progress": self.progress_json,
            "cancelled_msg": ending.closing_if_cancelled.msg,
            "cancelled_level": ending.closing_if_cancelled.level.value,
            "closings": _array(["f"] * len(self.lines) + ["t"]),
            **_columns([*self.lines, ending.closing]),
        }


def end(connection: Connection, ended: End) -> Status | None:
    """Write how a run ended, with its last log lines, and return the state that holds.

    That is `cancelled` where a cancel was asked for while it ran, whatever the handler did. None: the run has lost its
    right, and nothing was written.
    """
    found = _END.run(connection, ended.parameters)
    return Status(found[0][0]) if found else None


def end_and_claim(connection: Connection, ended: End, wanted: Claim) -> tuple[Status | None, Job | None]:
    """End a run and start the process's next one, in one transaction; what `end` and `claim` return.

    A job that somebody else is writing at this moment is not waited for, and not claimed.
    """
    ((status, *job),) = _END_AND_CLAIM.run(connection, ended.parameters | wanted.parameters)
    return Status(status) if status else None, rows.job(job) if job[0] else None


def _columns(lines: Sequence[LogLine]) -> dict[str, str]:
    """Lines as the statements have them: array literals, which PostgreSQL reads in a fraction of the time that it takes
    over as many expressions.
    """
    return {
        "seqs": _array([str(line.seq) for line in lines]),
        "times": _array([line.ts.isoformat() for line in lines]),
        "levels": _array([line.level.value for line in lines]),
        "msgs": _array([_quote(line.msg) for line in lines]),
    }


def _array(elements: Sequence[str]) -> str:
    return "{" + ",".join(elements) + "}"


def _quote(text: str) -> str:
    """A text as an element of an array (PostgreSQL manual, "Array Input and Output Syntax")."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# What a run that could not end itself leaves, by what comes `next` of it, as the statement has found in `held`.
# A cancel may have been written while the row was waited for. PostgreSQL checks the constraints once against the row as
# it was before, so the cancel is written here as it was found.
_TO_NEXT = """status = held.next,
        cancel_requested_at = held.cancel_requested_at,
        cancelled_by = held.cancelled_by,
        completed_at = CASE WHEN held.next <> 'queued' THEN clock_timestamp() END,
        error = CASE WHEN held.next = 'failed' THEN %(error)s END,
        started_at = CASE WHEN held.next <> 'queued' THEN j.started_at END,
        node_id = CASE WHEN held.next <> 'queued' THEN j.node_id END,
        published_at = CASE WHEN held.next <> 'queued' THEN j.published_at END"""

# A run that is taken back waits again, unless it was to be cancelled, is not to be repeated, or was lost too often.
# `{held}` selects the runs; `{wait}` says whether one whose row somebody else is writing at this moment is left out.
_TAKE_BACK = f"""
WITH held AS (
    SELECT j.id, j.run_no, j.cancel_requested_at, j.cancelled_by,
           CASE WHEN j.cancel_requested_at IS NOT NULL THEN 'cancelled'
                WHEN %(is_loss)s AND (w.on_worker_lost = 'fail' OR j.losses >= {MOST_LOSSES}) THEN 'failed'
                ELSE 'queued' END AS next
    FROM jobs AS j LEFT JOIN workers AS w ON w.id = j.worker_id
    WHERE j.status = 'running' AND {{held}}
    ORDER BY j.id LIMIT %(limit)s
    FOR UPDATE OF j {{wait}}
), taken AS (
    UPDATE jobs AS j SET
        {_TO_NEXT},
        losses = j.losses + CASE WHEN %(is_loss)s THEN 1 ELSE 0 END,
        attempt = CASE WHEN held.next = 'queued' THEN j.attempt - 1 ELSE j.attempt END
    FROM held WHERE j.id = held.id AND j.run_no = held.run_no
    RETURNING j.*, (SELECT o.started_at FROM jobs AS o WHERE o.id = j.id) AS was_started_at
), noted AS (
    INSERT INTO job_logs (job_id, seq, ts, level, msg)
    SELECT t.id, t.run_no * {SEQ_PER_RUN} + {SEQ_OF_OTHERS} + l.n, clock_timestamp(), l.level, l.msg
    FROM taken AS t CROSS JOIN LATERAL (VALUES
        (0, %(level)s, %(reason)s),
        (1, 'warn', CASE t.status WHEN 'queued' THEN NULL
            WHEN 'failed' THEN 'Handler failed after ' ELSE 'Handler cancelled after ' END
            || round(extract(epoch FROM clock_timestamp() - t.was_started_at) * 1000) || 'ms')
    ) AS l (n, level, msg)
    WHERE l.msg IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT {rows.JOB_COLUMNS} FROM taken AS j
"""
# One run is asked for once, so it is waited for; dead nodes are asked for again and again.
# Only from the node that asks: another may have been given the same message, and run it well.
_BY_RUN = _TAKE_BACK.format(
    wait="", held="j.id = %(id)s::uuid AND j.run_no = %(run_no)s AND j.node_id = %(node_id)s::uuid"
)
# A node that has no row any more is as dead as one that is silent.
_BY_DEAD_NODE = _TAKE_BACK.format(
    wait="SKIP LOCKED",
    held="""NOT EXISTS (
        SELECT 1 FROM nodes AS n WHERE n.id = j.node_id AND n.stopped_at IS NULL
            AND n.seen_at > now() - %(dead_after)s * interval '1 second')""",
)


def take_back(
    connection: Connection, *, job_id: str, run_no: int, node_id: str, reason: str, error: str, is_loss: bool
) -> Job | None:
    """Take one run of a node back, whose process is gone or must let go, and return the job as it is then.

    None: it had ended, or is not there.

    `reason` is its log line; `error` what the job fails with, should it not run again. A loss counts towards the most
    that a job may have (`MOST_LOSSES`), and never as an attempt.
    """
    parameters: dict[str, object] = {"id": rows.job_uuid(job_id), "run_no": run_no, "node_id": node_id, "limit": 1}
    taken = _taken_back(connection, _BY_RUN, parameters, reason=reason, error=error, is_loss=is_loss)
    return taken[0] if taken else None


def take_back_from_dead_nodes(
    connection: Connection, *, dead_after_seconds: float, reason: str, error: str, limit: int
) -> list[Job]:
    """Take back what dead nodes hold, oldest first."""
    parameters: dict[str, object] = {"dead_after": dead_after_seconds, "limit": limit}
    return _taken_back(connection, _BY_DEAD_NODE, parameters, reason=reason, error=error, is_loss=True)


def _taken_back(
    connection: Connection, statement: str, parameters: dict[str, object], *, reason: str, error: str, is_loss: bool
) -> list[Job]:
    parameters |= {"reason": reason, "error": error, "is_loss": is_loss, "level": "error" if is_loss else "warn"}
    return [rows.job(row) for row in connection.exec_driver_sql(statement, parameters)]


_DEFER = """
UPDATE jobs SET run_at = now() + %(seconds)s * interval '1 second', published_at = NULL
WHERE id = %(id)s::uuid AND run_no = %(run_no)s - 1 AND status IS NOT DISTINCT FROM 'queued' AND run_at IS NULL
"""


def defer(connection: Connection, *, job_id: str, run_no: int, seconds: float) -> bool:
    """Put a job off that this node cannot run, so that another may; False where it no longer waits."""
    parameters = {"id": rows.job_uuid(job_id), "run_no": run_no, "seconds": seconds}
    return connection.exec_driver_sql(_DEFER, parameters).rowcount == 1


_FORFEIT = """
UPDATE jobs SET run_no = run_no + 1, published_at = NULL
WHERE id = %(id)s::uuid AND run_no = %(run_no)s - 1 AND status IS NOT DISTINCT FROM 'queued'
"""


def forfeit(connection: Connection, *, job_id: str, run_no: int) -> bool:
    """Use a run's number up that nobody has claimed, so that no late claim gets it; False where it was claimed.

    For a run whose process died before it began: the job is published anew, with the next number.
    """
    parameters = {"id": rows.job_uuid(job_id), "run_no": run_no}
    return connection.exec_driver_sql(_FORFEIT, parameters).rowcount == 1


_KILL_END = f"""
WITH held AS (
    SELECT id, run_no, attempt, started_at, cancel_requested_at, cancelled_by,
           CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                WHEN attempt < max_attempts THEN 'queued' ELSE 'failed' END AS next
    FROM jobs WHERE id = %(id)s::uuid AND run_no = %(run_no)s AND status IS NOT DISTINCT FROM 'running'
        AND node_id = coalesce(%(node_id)s::uuid, node_id)
    FOR UPDATE
), ended AS (
    UPDATE jobs AS j SET
        {_TO_NEXT},
        run_at = CASE WHEN held.next = 'queued' THEN now() + 2 ^ (held.attempt - 1) * interval '1 second' END
    FROM held WHERE j.id = held.id
    RETURNING j.id, j.status
), noted AS (
    INSERT INTO job_logs (job_id, seq, ts, level, msg)
    SELECT id, run_no * {SEQ_PER_RUN} + {SEQ_OF_OTHERS}, clock_timestamp(),
           CASE next WHEN 'cancelled' THEN 'warn' ELSE 'error' END,
           'Handler ' || CASE next WHEN 'cancelled' THEN 'cancelled' ELSE 'failed' END || ' after '
           || round(extract(epoch FROM clock_timestamp() - started_at) * 1000) || 'ms (its process was killed)'
    FROM held
    ON CONFLICT DO NOTHING
)
SELECT status FROM ended
"""


def kill_end(
    connection: Connection, *, job_id: str, run_no: int, error: str, node_id: str | None = None
) -> Status | None:
    """Write the end of a run (of this node) whose process had to be killed, and return the state that follows.

    It is `cancelled` where that was asked, else a failed attempt, after which another may follow. None: it had ended.
    """
    parameters = {"id": rows.job_uuid(job_id), "run_no": run_no, "node_id": node_id, "error": error}
    status = connection.exec_driver_sql(_KILL_END, parameters).scalar()
    return None if status is None else Status(status)
