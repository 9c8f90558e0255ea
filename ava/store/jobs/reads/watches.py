"""Changes of watched jobs: a few statements for all watchers of a process.

The jobs belong to several tenants, so each is identified by tenant and id.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ava.domain import ids
from ava.domain.jobs.job import JobKey, LogLine, Status
from ava.domain.limits.table import STREAM_BUFFER_BYTES
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import IN_ORDER, Statement
from ava.store.jobs import rows
from ava.store.jobs.reads.job_logs import after_seq
from ava.store.jobs.rows import FoundLines

#: Max lines per read and watcher.
MAX_LINES = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchedState:
    """The state of an unfinished job: the one its watcher saw last, or the current one."""

    number: int
    job: JobKey
    status: Status
    run_no: int
    attempt: int
    is_cancel_requested: bool
    progress_json: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LogPosition:
    #: The key of its lines in the result.
    number: int
    job: JobKey
    after_seq: int


_ROWS = RecordRows(
    WatchedState,
    "j",
    columns={"number": "w.n", "is_cancel_requested": "j.cancel_requested_at IS NOT NULL"},
    without=("job",),
)
# Does not load the records: a thousand watchers of large jobs may end together.
_FINAL_STATES = Statement(f"""
SELECT {_ROWS.select(number="0")}, j.tenant_id, j.id::text
FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS w (tenant_id, id)
JOIN jobs AS j ON j.tenant_id = w.tenant_id AND j.id = w.id WHERE j.completed_at IS NOT NULL
""")


def final_states(connection: Connection, jobs: Collection[JobKey]) -> dict[JobKey, WatchedState]:
    parameters = {"tenants": [job.tenant_id for job in jobs], "ids": [rows.job_uuid(job.id) for job in jobs]}
    found = connection.exec_driver_sql(_FINAL_STATES, parameters)
    states = (_ROWS.read(row, job=JobKey(row[-2], ids.encode("job", row[-1]))) for row in found)
    return {state.job: state for state in states}


_CHANGED_STATES = Statement(f"""
SELECT {_ROWS.columns}
FROM unnest(%(numbers)s::bigint[], %(tenants)s::text[], %(ids)s::uuid[], %(statuses)s::text[], %(runs)s::int[],
            %(cancelling)s::bool[], %(progress)s::text[])
     AS w (n, tenant_id, id, status, run_no, is_cancelling, progress)
JOIN jobs AS j ON j.tenant_id = w.tenant_id AND j.id = w.id
WHERE j.completed_at IS NULL AND (j.status, j.run_no, j.cancel_requested_at IS NOT NULL, j.progress::text)
                                 IS DISTINCT FROM (w.status, w.run_no, w.is_cancelling, w.progress)
""")


def changed_states(connection: Connection, seen: Sequence[WatchedState]) -> list[WatchedState]:
    """Return the new states of unfinished jobs that differ from the state seen."""
    parameters = {
        "numbers": [state.number for state in seen],
        "tenants": [state.job.tenant_id for state in seen],
        "ids": [rows.job_uuid(state.job.id) for state in seen],
        "statuses": [state.status.value for state in seen],
        "runs": [state.run_no for state in seen],
        "cancelling": [state.is_cancel_requested for state in seen],
        "progress": [state.progress_json for state in seen],
    }
    jobs = {state.number: state.job for state in seen}
    return [_ROWS.read(row, job=jobs[row[0]]) for row in connection.exec_driver_sql(_CHANGED_STATES, parameters)]


# Each log stops at the first line beyond the budget. `IN_ORDER`: for a partition that the planner believes nearly
# empty, it would sort all lines of the log for each read.
_LINES_AFTER = Statement(f"""{IN_ORDER}
SELECT w.n, l.seq, l.ts, l.level, l.msg, l.found
FROM unnest(%(numbers)s::bigint[], %(tenants)s::text[], %(ids)s::uuid[], %(seqs)s::bigint[])
     AS w (n, tenant_id, id, after_seq)
CROSS JOIN LATERAL (
    SELECT *, count(*) OVER () AS found, sum(octet_length(msg)) OVER (ORDER BY seq) - octet_length(msg) AS before FROM (
        SELECT seq, ts, level, msg FROM job_lines
        WHERE tenant_id = w.tenant_id AND job_id = w.id AND {after_seq("w.after_seq")}
            AND job_id >= %(first)s::uuid AND job_id <= %(last)s::uuid
        ORDER BY first_seq, seq LIMIT {MAX_LINES}
    ) AS next
) AS l
WHERE l.before < {STREAM_BUFFER_BYTES.value}
ORDER BY w.n, l.seq
""")


def lines_after(connection: Connection, positions: Sequence[LogPosition]) -> dict[int, FoundLines]:
    """Return the lines after each position, oldest first, by the positions' numbers.

    Each gets at most `MAX_LINES` lines, and no line that begins beyond the stream buffer size.
    """
    job_ids = [rows.job_uuid(position.job.id) for position in positions]
    known = [job_id for job_id in job_ids if job_id is not None]
    parameters = {
        "numbers": [position.number for position in positions],
        "tenants": [position.job.tenant_id for position in positions],
        "ids": job_ids,
        # Restrict the partitions that PostgreSQL plans for.
        "first": min(known, default=None),
        "last": max(known, default=None),
        "seqs": [position.after_seq for position in positions],
    }
    lines: dict[int, list[LogLine]] = {}
    counts: dict[int, int] = {}
    for number, *line, count in connection.exec_driver_sql(_LINES_AFTER, parameters):
        lines.setdefault(number, []).append(rows.log_line(line))
        counts[number] = count
    return {
        number: FoundLines(lines=found, has_more=len(found) < counts[number] or counts[number] == MAX_LINES)
        for number, found in lines.items()
    }
