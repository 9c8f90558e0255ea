"""What watched jobs have become: a few statements for all watchers of a process together, none for each.

No statement here is scoped to a tenant: whoever watches a job was shown it before (`ava.store.jobs.reads.show`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ava.domain.job import Job, LogLine, Status
from ava.store.engine.database import Connection
from ava.store.jobs import rows

__all__ = ["MOST_LINES", "LogPosition", "WatchedState", "changed_states", "final_jobs", "lines_after"]

#: Lines that one look brings for one watcher.
MOST_LINES = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchedState:
    """What a watcher has seen of a job that is not final, or would see now."""

    #: The watcher's number.
    number: int
    job_id: str
    status: Status
    run_no: int
    attempt: int
    is_cancel_requested: bool
    progress_json: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LogPosition:
    """Up to where a watcher has read a job's log."""

    #: The watcher's number.
    number: int
    job_id: str
    after_seq: int


_FINAL = f"""
SELECT {rows.JOB_COLUMNS} FROM jobs AS j
WHERE j.id = ANY(%(ids)s::uuid[]) AND j.completed_at IS NOT NULL
"""


def final_jobs(connection: Connection, job_ids: Sequence[str]) -> list[Job]:
    """Those of the jobs that are final."""
    parameters = {"ids": [rows.job_uuid(job_id) for job_id in job_ids]}
    return [rows.job(row) for row in connection.exec_driver_sql(_FINAL, parameters)]


_CHANGED = """
SELECT w.n, j.status, j.run_no, j.attempt, j.cancel_requested_at IS NOT NULL, j.progress::text
FROM unnest(%(numbers)s::bigint[], %(ids)s::uuid[], %(statuses)s::text[], %(runs)s::int[], %(asked)s::bool[],
            %(progress)s::text[]) AS w (n, id, status, run_no, asked, progress)
JOIN jobs AS j ON j.id = w.id
WHERE j.completed_at IS NULL AND (j.status, j.run_no, j.cancel_requested_at IS NOT NULL, j.progress::text)
                                 IS DISTINCT FROM (w.status, w.run_no, w.asked, w.progress)
"""


def changed_states(connection: Connection, seen: Sequence[WatchedState]) -> list[WatchedState]:
    """The states that are not what was seen, of jobs that are not final."""
    parameters = {
        "numbers": [state.number for state in seen],
        "ids": [rows.job_uuid(state.job_id) for state in seen],
        "statuses": [state.status.value for state in seen],
        "runs": [state.run_no for state in seen],
        "asked": [state.is_cancel_requested for state in seen],
        "progress": [state.progress_json for state in seen],
    }
    job_ids = {state.number: state.job_id for state in seen}
    return [
        WatchedState(
            number=number,
            job_id=job_ids[number],
            status=Status(status),
            run_no=run_no,
            attempt=attempt,
            is_cancel_requested=asked,
            progress_json=progress,
        )
        for number, status, run_no, attempt, asked, progress in connection.exec_driver_sql(_CHANGED, parameters)
    ]


_LINES = f"""
SELECT w.n, l.seq, l.ts, l.level, l.msg
FROM unnest(%(numbers)s::bigint[], %(ids)s::uuid[], %(places)s::bigint[]) AS w (n, id, place)
CROSS JOIN LATERAL (
    SELECT seq, ts, level, msg FROM job_logs WHERE job_id = w.id AND seq > w.place ORDER BY seq LIMIT {MOST_LINES}
) AS l
ORDER BY w.n, l.seq
"""


def lines_after(connection: Connection, places: Sequence[LogPosition]) -> dict[int, list[LogLine]]:
    """The lines that follow each place, oldest first, at most `MOST_LINES` each, by the watchers' numbers."""
    parameters = {
        "numbers": [place.number for place in places],
        "ids": [rows.job_uuid(place.job_id) for place in places],
        "places": [place.after_seq for place in places],
    }
    found: dict[int, list[LogLine]] = {}
    for number, *line in connection.exec_driver_sql(_LINES, parameters):
        found.setdefault(number, []).append(rows.log_line(line))
    return found
