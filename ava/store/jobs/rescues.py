"""The moves of a job whose run could not end itself because its process or its node is gone or was killed.

Each compares the run's number, as those of `ava.store.jobs.runs` do.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ava.domain.job import Job, Status
from ava.domain.retry import BACKOFF_FACTOR, FIRST_DELAY_SECONDS, MAX_LOSSES
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement
from ava.store.fleet import workers
from ava.store.jobs import rows
from ava.store.jobs.runs import SEQ_OF_OTHERS, SEQ_PER_RUN

__all__ = ["end_killed_run", "invalidate_unclaimed", "rescue", "rescue_from_dead_nodes"]

# A rescued run waits again, in the queue that its worker names now, unless it is to be cancelled, is not to be
# repeated, or was lost too often.
#
# A job with a rate waits for a permit again, because a rate counts each start. A job without one keeps its permit.
#
# A cancel may be written while the statement waits for the row. PostgreSQL evaluates the constraints once against the
# row's old version, so each UPDATE here writes the cancel's columns as `held` found them.
#
# One run is rescued only from the node that asks, because another node may have received the same message and run it.
_RESCUE = Statement(f"""
WITH held AS (
    SELECT j.id, j.run_no, j.cancel_requested_at, j.cancelled_by, coalesce(w.queue, j.queue) AS queue,
           CASE WHEN j.cancel_requested_at IS NOT NULL THEN 'cancelled'
                WHEN %(is_loss)s AND (w.on_worker_lost = 'fail' OR j.losses >= {MAX_LOSSES}) THEN 'failed'
                ELSE 'queued' END AS next
    FROM jobs AS j LEFT JOIN workers AS w ON {workers.of("j")}
    WHERE j.status = 'running' AND j.id = %(id)s::uuid AND j.run_no = %(run_no)s AND j.node_id = %(node_id)s::uuid
    ORDER BY j.id LIMIT 1
    FOR UPDATE OF j
), rescued AS (
    UPDATE jobs AS j SET
        status = held.next,
        cancel_requested_at = held.cancel_requested_at,
        cancelled_by = held.cancelled_by,
        completed_at = CASE WHEN held.next <> 'queued' THEN clock_timestamp() END,
        error = CASE WHEN held.next = 'failed' THEN %(error)s END,
        started_at = CASE WHEN held.next <> 'queued' THEN j.started_at END,
        node_id = CASE WHEN held.next <> 'queued' THEN j.node_id END,
        published_at = CASE WHEN held.next <> 'queued' THEN j.published_at END,
        waits_for = CASE WHEN held.next = 'queued' AND j.rate_key IS NOT NULL THEN 'permit' END,
        queue = held.queue,
        losses = j.losses + CASE WHEN %(is_loss)s THEN 1 ELSE 0 END,
        attempt = CASE WHEN held.next = 'queued' THEN j.attempt - 1 ELSE j.attempt END
    FROM held WHERE j.id = held.id AND j.run_no = held.run_no
    RETURNING j.*, (SELECT o.started_at FROM jobs AS o WHERE o.id = j.id) AS was_started_at
), logged AS (
    INSERT INTO job_logs (job_id, seq, ts, level, msg)
    SELECT r.id, r.run_no * {SEQ_PER_RUN} + {SEQ_OF_OTHERS} + l.n, clock_timestamp(), l.level, l.msg
    FROM rescued AS r CROSS JOIN LATERAL (VALUES
        (0, CASE WHEN %(is_loss)s THEN 'error' ELSE 'warn' END, %(msg)s),
        (1, 'warn', CASE r.status WHEN 'queued' THEN NULL
            WHEN 'failed' THEN 'Handler failed after ' ELSE 'Handler cancelled after ' END
            || round(extract(epoch FROM clock_timestamp() - r.was_started_at) * 1000) || 'ms')
    ) AS l (n, level, msg)
    WHERE l.msg IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT {rows.JOB_COLUMNS} FROM rescued AS j
""")


def rescue(
    connection: Connection, *, job_id: str, run_no: int, node_id: str, msg: str, error: str, is_loss: bool
) -> Job | None:
    """Return a run to the queue, or end it, if its process is gone or the node shuts down.

    `msg` is the log line, `error` the job's error if it fails. A loss counts towards `MAX_LOSSES`, not as an attempt.
    Returns the job as it is then, or None if the run had ended or does not exist.
    """
    parameters: dict[str, object] = {"id": rows.job_uuid(job_id), "run_no": run_no, "node_id": node_id}
    parameters |= {"msg": msg, "error": error, "is_loss": is_loss}
    row = connection.exec_driver_sql(_RESCUE, parameters).first()
    return None if row is None else rows.job(row)


# This is `_RESCUE` for the runs of dead nodes, each of them a loss. A node without a row is as dead as a silent one.
# A silent node whose heartbeat has changed since it was read is alive. Moments are only compared for equality, because
# PostgreSQL's clock may jump.
#
# It runs again and again, so it does not wait for rows that another transaction has locked, and it is planned seldom,
# because planning takes longer than finding none.
_RESCUE_FROM_DEAD_NODES = Prepared(
    "rescue_from_dead_nodes",
    f"""
WITH held AS (
    SELECT j.id, j.run_no, j.cancel_requested_at, j.cancelled_by, coalesce(w.queue, j.queue) AS queue,
           CASE WHEN j.cancel_requested_at IS NOT NULL THEN 'cancelled'
                WHEN w.on_worker_lost = 'fail' OR j.losses >= {MAX_LOSSES} THEN 'failed'
                ELSE 'queued' END AS next
    FROM jobs AS j LEFT JOIN workers AS w ON {workers.of("j")}
    WHERE j.status = 'running' AND NOT EXISTS (
        SELECT 1 FROM nodes AS n WHERE n.id = j.node_id AND n.stopped_at IS NULL
            AND (n.id, n.seen_at) NOT IN (SELECT * FROM unnest(%(silent_ids)s::uuid[], %(silent_at)s::timestamptz[])))
    ORDER BY j.id LIMIT %(limit)s
    FOR UPDATE OF j SKIP LOCKED
), rescued AS (
    UPDATE jobs AS j SET
        status = held.next,
        cancel_requested_at = held.cancel_requested_at,
        cancelled_by = held.cancelled_by,
        completed_at = CASE WHEN held.next <> 'queued' THEN clock_timestamp() END,
        error = CASE WHEN held.next = 'failed' THEN %(error)s END,
        started_at = CASE WHEN held.next <> 'queued' THEN j.started_at END,
        node_id = CASE WHEN held.next <> 'queued' THEN j.node_id END,
        published_at = CASE WHEN held.next <> 'queued' THEN j.published_at END,
        waits_for = CASE WHEN held.next = 'queued' AND j.rate_key IS NOT NULL THEN 'permit' END,
        queue = held.queue,
        losses = j.losses + 1,
        attempt = CASE WHEN held.next = 'queued' THEN j.attempt - 1 ELSE j.attempt END
    FROM held WHERE j.id = held.id AND j.run_no = held.run_no
    RETURNING j.*, (SELECT o.started_at FROM jobs AS o WHERE o.id = j.id) AS was_started_at
), logged AS (
    INSERT INTO job_logs (job_id, seq, ts, level, msg)
    SELECT r.id, r.run_no * {SEQ_PER_RUN} + {SEQ_OF_OTHERS} + l.n, clock_timestamp(), l.level, l.msg
    FROM rescued AS r CROSS JOIN LATERAL (VALUES
        (0, 'error', %(msg)s),
        (1, 'warn', CASE r.status WHEN 'queued' THEN NULL
            WHEN 'failed' THEN 'Handler failed after ' ELSE 'Handler cancelled after ' END
            || round(extract(epoch FROM clock_timestamp() - r.was_started_at) * 1000) || 'ms')
    ) AS l (n, level, msg)
    WHERE l.msg IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT {rows.JOB_COLUMNS} FROM rescued AS j
""",
    plan_seconds=60.0,
)


def rescue_from_dead_nodes(
    connection: Connection, *, silent: Mapping[str, datetime], msg: str, error: str, limit: int
) -> list[Job]:
    """Rescue the runs of dead nodes, oldest jobs first. Returns the jobs as they are then.

    `silent` has the silent nodes' last heartbeats by their ids.
    """
    parameters: dict[str, object] = {"silent_ids": list(silent), "silent_at": list(silent.values())}
    parameters |= {"limit": limit, "msg": msg, "error": error}
    return [rows.job(row) for row in _RESCUE_FROM_DEAD_NODES.run(connection, parameters)]


_INVALIDATE_UNCLAIMED = Statement("""
UPDATE jobs SET run_no = run_no + 1, published_at = NULL
WHERE id = %(id)s::uuid AND run_no = %(run_no)s - 1 AND status IS NOT DISTINCT FROM 'queued'
""")


def invalidate_unclaimed(connection: Connection, *, job_id: str, run_no: int) -> bool:
    """Use up the number of an unclaimed run, so that no late claim gets it. Returns False if it was claimed.

    It is for a run whose process died before the claim: the job is published again, with the next number.
    """
    parameters = {"id": rows.job_uuid(job_id), "run_no": run_no}
    return connection.exec_driver_sql(_INVALIDATE_UNCLAIMED, parameters).rowcount == 1


# The retry's delay is that of `ava.domain.retry`, without the jitter.
_END_KILLED_RUN = Statement(f"""
WITH held AS (
    SELECT id, run_no, attempt, started_at, cancel_requested_at, cancelled_by,
           CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                WHEN attempt < max_attempts THEN 'queued' ELSE 'failed' END AS next
    FROM jobs WHERE id = %(id)s::uuid AND run_no = %(run_no)s AND status IS NOT DISTINCT FROM 'running'
        AND node_id = coalesce(%(node_id)s::uuid, node_id)
    FOR UPDATE
), ended AS (
    UPDATE jobs AS j SET
        status = held.next,
        cancel_requested_at = held.cancel_requested_at,
        cancelled_by = held.cancelled_by,
        completed_at = CASE WHEN held.next <> 'queued' THEN clock_timestamp() END,
        error = CASE WHEN held.next = 'failed' THEN %(error)s END,
        started_at = CASE WHEN held.next <> 'queued' THEN j.started_at END,
        node_id = CASE WHEN held.next <> 'queued' THEN j.node_id END,
        published_at = CASE WHEN held.next <> 'queued' THEN j.published_at END,
        waits_for = CASE WHEN held.next = 'queued' THEN 'date' END,
        run_at = CASE WHEN held.next = 'queued' THEN
            now() + {FIRST_DELAY_SECONDS} * {BACKOFF_FACTOR} ^ (held.attempt - 1) * interval '1 second' END
    FROM held WHERE j.id = held.id
    RETURNING j.id, j.status
), logged AS (
    INSERT INTO job_logs (job_id, seq, ts, level, msg)
    SELECT id, run_no * {SEQ_PER_RUN} + {SEQ_OF_OTHERS}, clock_timestamp(),
           CASE next WHEN 'cancelled' THEN 'warn' ELSE 'error' END,
           'Handler ' || CASE next WHEN 'cancelled' THEN 'cancelled' ELSE 'failed' END || ' after '
           || round(extract(epoch FROM clock_timestamp() - started_at) * 1000) || 'ms (its process was killed)'
    FROM held
    ON CONFLICT DO NOTHING
)
SELECT status FROM ended
""")


def end_killed_run(
    connection: Connection, *, job_id: str, run_no: int, error: str, node_id: str | None = None
) -> Status | None:
    """End a run (of this node, if one is named) whose process was killed. Returns the job's status.

    It is `cancelled` if a cancel was requested. Else the attempt has failed, and another may follow. Returns None if
    the run had ended.
    """
    parameters = {"id": rows.job_uuid(job_id), "run_no": run_no, "node_id": node_id, "error": error}
    status = connection.exec_driver_sql(_END_KILLED_RUN, parameters).scalar()
    return None if status is None else Status(status)
