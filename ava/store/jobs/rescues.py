"""The moves of a job whose run could not end itself: its process or its node is gone, or was killed.

Each carries the run's number, as those of `ava.store.jobs.runs` do.
"""

from __future__ import annotations

from ava.domain.job import Job, Status
from ava.domain.retry import MOST_LOSSES
from ava.store.engine.database import Connection
from ava.store.jobs import rows
from ava.store.jobs.runs import SEQ_OF_OTHERS, SEQ_PER_RUN

__all__ = ["end_killed_run", "invalidate_unclaimed", "rescue", "rescue_from_dead_nodes"]

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
        (0, %(level)s, %(msg)s),
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


def rescue(
    connection: Connection, *, job_id: str, run_no: int, node_id: str, msg: str, error: str, is_loss: bool
) -> Job | None:
    """Take one run of a node back, whose process is gone or must let go, and return the job as it is then.

    None: it had ended, or is not there.

    `msg` is its log line; `error` what the job fails with, should it not run again. A loss counts towards the most
    that a job may have (`MOST_LOSSES`), and never as an attempt.
    """
    parameters: dict[str, object] = {"id": rows.job_uuid(job_id), "run_no": run_no, "node_id": node_id, "limit": 1}
    taken = _taken_back(connection, _BY_RUN, parameters, msg=msg, error=error, is_loss=is_loss)
    return taken[0] if taken else None


def rescue_from_dead_nodes(
    connection: Connection, *, dead_after_seconds: float, msg: str, error: str, limit: int
) -> list[Job]:
    """Take back what dead nodes hold, oldest first."""
    parameters: dict[str, object] = {"dead_after": dead_after_seconds, "limit": limit}
    return _taken_back(connection, _BY_DEAD_NODE, parameters, msg=msg, error=error, is_loss=True)


def _taken_back(
    connection: Connection, statement: str, parameters: dict[str, object], *, msg: str, error: str, is_loss: bool
) -> list[Job]:
    parameters |= {"msg": msg, "error": error, "is_loss": is_loss, "level": "error" if is_loss else "warn"}
    return [rows.job(row) for row in connection.exec_driver_sql(statement, parameters)]


_FORFEIT = """
UPDATE jobs SET run_no = run_no + 1, published_at = NULL
WHERE id = %(id)s::uuid AND run_no = %(run_no)s - 1 AND status IS NOT DISTINCT FROM 'queued'
"""


def invalidate_unclaimed(connection: Connection, *, job_id: str, run_no: int) -> bool:
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


def end_killed_run(
    connection: Connection, *, job_id: str, run_no: int, error: str, node_id: str | None = None
) -> Status | None:
    """Write the end of a run (of this node) whose process had to be killed, and return the state that follows.

    It is `cancelled` where that was asked, else a failed attempt, after which another may follow. None: it had ended.
    """
    parameters = {"id": rows.job_uuid(job_id), "run_no": run_no, "node_id": node_id, "error": error}
    status = connection.exec_driver_sql(_KILL_END, parameters).scalar()
    return None if status is None else Status(status)
