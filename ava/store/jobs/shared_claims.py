"""The moves of brief jobs that one process claims together: claim, check before each begins, end, give back.

One statement claims the runs of a message, and one ends those that have completed. Each run keeps its own fence: the
run's number and the id of the claim, which all of them share. `ava.store.jobs.runs` has the moves of a single run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from ava.domain import ids, priority, run_groups
from ava.domain.job import Job, LogLine, RunEnd, Status
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement
from ava.store.jobs import rows, runs
from ava.store.jobs.moves.rules import HAS_SETTINGS, IS_PAUSED

__all__ = ["NOTHING", "CompletedRun", "RunCheck", "check", "claim", "claimed", "end", "give_back"]

#: Seconds after which the statements are planned anew. Their plan while the table is nearly empty reads all of it.
_PLAN_SECONDS = 60.0

# A job that lost a process before is claimed alone: so a handler that kills its process does not do so with others.
# A row that another transaction writes at this moment is not waited for.
_CLAIM = Prepared(
    "claim_together",
    f"""
WITH wanted AS (
    SELECT j.id FROM unnest(%(ids)s::uuid[], %(run_nos)s::int[]) AS r (id, run_no) JOIN jobs AS j ON j.id = r.id
    WHERE j.run_no = r.run_no - 1 AND j.status IS NOT DISTINCT FROM 'queued' AND j.waits_for IS NULL
        AND j.worker_id = %(worker_id)s AND j.losses = 0 AND NOT {IS_PAUSED}
    FOR UPDATE OF j SKIP LOCKED
), claimed AS (
    UPDATE jobs AS j SET status = 'running', started_at = clock_timestamp(), node_id = %(node_id)s::uuid,
        claim_id = %(claim_id)s::uuid, run_no = j.run_no + 1, attempt = j.attempt + 1, progress = NULL
    FROM wanted WHERE j.id = wanted.id
    RETURNING j.*
)
SELECT {rows.JOB_COLUMNS}, {HAS_SETTINGS} FROM claimed AS j
""",
    plan_seconds=_PLAN_SECONDS,
)


def claim(
    connection: Connection, wanted: Sequence[tuple[str, int]], *, worker_id: str, node_id: str, claim_id: str
) -> list[Job]:
    """Start runs (job id, run number) of one worker. Returns the jobs of those that could be claimed.

    Their log has no first line yet; it is stored with the others.
    """
    parameters = _runs(wanted) | {"worker_id": worker_id, "node_id": node_id, "claim_id": claim_id}
    return [runs.claimed_job(row) for row in _CLAIM.run(connection, parameters)]


_CLAIMED = Statement(f"""
SELECT {rows.JOB_COLUMNS}, {HAS_SETTINGS} FROM jobs AS j
WHERE j.id = ANY(%(ids)s::uuid[]) AND j.claim_id = %(claim_id)s::uuid AND j.status IS NOT DISTINCT FROM 'running'
""")


def claimed(connection: Connection, wanted: Sequence[tuple[str, int]], *, claim_id: str) -> list[Job]:
    """Returns the jobs of a claim whose result was lost."""
    parameters = _runs(wanted) | {"claim_id": claim_id}
    return [runs.claimed_job(row) for row in connection.exec_driver_sql(_CLAIMED, parameters)]


class RunCheck(NamedTuple):
    """What is read of a run before its handler begins."""

    #: Whether a cancel was requested of it since it was claimed.
    is_to_be_cancelled: bool
    #: Whether a message of a more urgent job waits in its queue.
    is_outranked: bool


NOTHING = RunCheck(is_to_be_cancelled=False, is_outranked=False)

# One index scan of a few entries for each priority: thousands of jobs that wait unpublished are not read. Without the
# order the planner may scan the table.
_CHECK = Prepared(
    "check_before_begin",
    """
SELECT j.cancel_requested_at IS NOT NULL, EXISTS (
    SELECT FROM generate_series(%(first)s::int, %(last)s::int) AS p (priority), LATERAL (
        SELECT FROM jobs AS u
        WHERE u.queue = j.queue AND u.priority = p.priority AND u.status = 'queued' AND u.waits_for IS NULL
            AND u.published_at > now() - %(urgent_seconds)s::float8 * interval '1 second'
        ORDER BY u.queue, u.priority, u.published_at, u.id LIMIT 1
    ) AS urgent
)
FROM jobs AS j
WHERE j.id = %(id)s::uuid AND j.run_no = %(run_no)s AND j.status IS NOT DISTINCT FROM 'running'
    AND j.claim_id = %(claim_id)s::uuid
""",
    plan_seconds=_PLAN_SECONDS,
)


def check(
    connection: Connection, *, job_id: str, run_no: int, claim_id: str | None, outranked_by: int = priority.FIRST - 1
) -> RunCheck | None:
    """Returns what is to be known before a claimed run begins, or None if the run has lost its job.

    `outranked_by`: the least urgent priority that is looked for; by default none is.
    """
    parameters = {
        "id": rows.job_uuid(job_id),
        "run_no": run_no,
        "claim_id": claim_id,
        "first": priority.FIRST,
        "last": outranked_by,
        "urgent_seconds": run_groups.URGENT_SECONDS,
    }
    found = _CHECK.run(connection, parameters)
    return RunCheck(*found[0]) if found else None


@dataclass(frozen=True, kw_only=True)
class CompletedRun:
    """A run whose handler has returned, and what is to be written of it."""

    end: RunEnd
    #: When its handler began.
    began_at: datetime
    #: The log lines that are not stored yet; the closing line comes last.
    lines: Sequence[LogLine]
    progress_json: str | None


# `completed_at` is not earlier than the transaction, because the counts of ended jobs rely on it. `started_at` moves
# with it by up to 0.1 s, so that a job's duration is that of its handler.
_END = Prepared(
    "end_together",
    """
WITH ended AS (
    UPDATE jobs AS j SET
        status = CASE WHEN j.cancel_requested_at IS NULL THEN 'completed' ELSE 'cancelled' END,
        started_at = least(clock_timestamp() - r.seconds * interval '1 second',
                           r.began_at + interval '0.1 second'),
        completed_at = clock_timestamp(), output = r.output::json, output_bytes = r.output_bytes,
        error = NULL, error_id = NULL, progress = coalesce(r.progress::json, j.progress)
    FROM unnest(%(ids)s::uuid[], %(run_nos)s::int[], %(began)s::timestamptz[], %(seconds)s::float8[],
                %(outputs)s::text[], %(output_bytes)s::int[], %(progresses)s::text[])
         AS r (id, run_no, began_at, seconds, output, output_bytes, progress)
    WHERE j.id = r.id AND j.run_no = r.run_no AND j.status IS NOT DISTINCT FROM 'running'
        AND j.claim_id = %(claim_id)s::uuid
    RETURNING j.id, j.status
), stored AS (
    INSERT INTO job_logs (job_id, seq, ts, level, msg)
    SELECT ended.id, l.seq, l.ts,
           CASE WHEN l.cancelled_msg IS NOT NULL AND ended.status = 'cancelled' THEN 'warn' ELSE l.level END,
           CASE WHEN l.cancelled_msg IS NOT NULL AND ended.status = 'cancelled' THEN l.cancelled_msg ELSE l.msg END
    FROM unnest(%(owners)s::uuid[], %(seqs)s::bigint[], %(times)s::timestamptz[], %(levels)s::text[], %(msgs)s::text[],
                %(cancelled_msgs)s::text[])
         AS l (job_id, seq, ts, level, msg, cancelled_msg)
    JOIN ended ON ended.id = l.job_id
    ON CONFLICT DO NOTHING
)
SELECT id::text, status FROM ended
""",
    plan_seconds=_PLAN_SECONDS,
)


def end(connection: Connection, completed: Sequence[CompletedRun], *, claim_id: str) -> dict[str, Status]:
    """Write the ends of completed runs of one claim. Returns the jobs' statuses by id, without those that were lost.

    A status is `cancelled` if a cancel was requested while the job ran, as with `runs.end`.
    """
    # In the order of the ids, as a statement that cancels many jobs locks them.
    ordered = sorted(completed, key=lambda each: each.end.job_id)
    found = _END.run(connection, _end_parameters(ordered) | {"claim_id": claim_id})
    return {ids.encode("job", id_): Status(status) for id_, status in found}


def _end_parameters(completed: Sequence[CompletedRun]) -> dict[str, object]:
    lines = [(each, line) for each in completed for line in each.lines]
    return {
        **_runs([(each.end.job_id, each.end.run_no) for each in completed]),
        "began": runs.array([str(each.began_at) for each in completed]),
        "seconds": runs.array([str(_seconds(each)) for each in completed]),
        "outputs": runs.array([_text(each.end.output_json) for each in completed]),
        "output_bytes": runs.array([str(rows.large_bytes(each.end.output_json) or "NULL") for each in completed]),
        "progresses": runs.array([_text(each.progress_json) for each in completed]),
        "owners": runs.array([str(rows.job_uuid(each.end.job_id)) for each, _ in lines]),
        "cancelled_msgs": runs.array(
            [_text(each.end.closing_if_cancelled[1] if line is each.lines[-1] else None) for each, line in lines]
        ),
        **runs.columns([line for _, line in lines]),
    }


def _seconds(completed: CompletedRun) -> float:
    return (completed.lines[-1].ts - completed.began_at).total_seconds()


def _text(text: str | None) -> str:
    return "NULL" if text is None else runs.quote(text)


def _runs(wanted: Sequence[tuple[str, int]]) -> dict[str, object]:
    return {
        "ids": runs.array([str(rows.job_uuid(job_id)) for job_id, _ in wanted]),
        "run_nos": runs.array([str(run_no) for _, run_no in wanted]),
    }


# As `runs.end` returns a job to the queue whose handler has put it off, but at once. A job with a rate waits for a
# permit, because the rate may have been put off since it was admitted.
_GIVE_BACK = Statement("""
UPDATE jobs AS j SET
    status = CASE WHEN j.cancel_requested_at IS NULL THEN 'queued' ELSE 'cancelled' END,
    completed_at = CASE WHEN j.cancel_requested_at IS NOT NULL THEN clock_timestamp() END,
    published_at = CASE WHEN j.cancel_requested_at IS NULL THEN NULL ELSE j.published_at END,
    started_at = CASE WHEN j.cancel_requested_at IS NULL THEN NULL ELSE j.started_at END,
    node_id = CASE WHEN j.cancel_requested_at IS NULL THEN NULL ELSE j.node_id END,
    waits_for = CASE WHEN j.cancel_requested_at IS NULL AND j.rate_key IS NOT NULL THEN 'permit' END,
    attempt = j.attempt - CASE WHEN j.cancel_requested_at IS NULL THEN 1 ELSE 0 END
FROM unnest(%(ids)s::uuid[], %(run_nos)s::int[], %(claim_ids)s::uuid[]) AS r (id, run_no, claim_id)
WHERE j.id = r.id AND j.run_no = r.run_no AND j.status IS NOT DISTINCT FROM 'running' AND j.claim_id = r.claim_id
""")


def give_back(connection: Connection, unbegun: Sequence[tuple[str, int, str]]) -> int:
    """Return claimed runs (job id, run number, id of the claim) that have not begun to the backlog.

    One of which a cancel was requested is cancelled. Returns the number of jobs.
    """
    parameters = _runs([(job_id, run_no) for job_id, run_no, _ in unbegun])
    parameters["claim_ids"] = runs.array([claim_id for *_, claim_id in unbegun])
    return connection.exec_driver_sql(_GIVE_BACK, parameters).rowcount
