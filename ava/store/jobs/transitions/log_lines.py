"""Store log lines of runs, within state transitions or while a run is active."""

from __future__ import annotations

from collections.abc import Sequence

from ava.domain.jobs.job import Job, LogLevel, LogLine, RunKey
from ava.domain.jobs.run_outcome import DURATION
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import array, text_array
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import ONE_RUN, OWNS

#: A line's `seq` is the run number times this, plus the line's number in the run.
SEQ_PER_RUN = 2**32
OPENING = "Worker handler started"
#: The first log line of a run that continues an attempt after a wait.
CONTINUING = "Handler continues"
#: Lines that other processes write about a run start here, behind all possible lines of the run itself.
SEQ_OF_OTHERS = 2**31
#: Maximum of lines per row of `job_logs`.
LINES_PER_ROW = 16


def stores(lines: str) -> str:
    """Return the statement that stores rows of lines, selected by `lines`.

    A run that lost the response to an earlier attempt stores its lines again, together with newer ones.
    """
    return f"""INSERT INTO job_logs AS stored (tenant_id, job_id, seq, times, levels, msgs)
{lines}
    ON CONFLICT (tenant_id, job_id, seq) DO UPDATE
    SET times = excluded.times, levels = excluded.levels, msgs = excluded.msgs
    WHERE length(excluded.levels) > length(stored.levels)"""


def of_one(run: str, msgs: str = "l.msgs") -> str:
    """Return the SELECT of the given lines of one run; `run` is the CTE with its job."""
    return f"""    SELECT {run}.tenant_id, {run}.id, l.seq, l.times::timestamptz[], l.levels, {msgs}::text[]
    FROM {run}, unnest(%(seqs)s::bigint[], %(times)s::text[], %(levels)s::text[], %(msgs)s::text[])
         AS l (seq, times, levels, msgs)"""


def closed(run: str) -> str:
    """Return SQL for the messages of a run with its duration (`ran`) in the closing line."""
    return f"replace(l.msgs, '{DURATION}', {run}.ran)"


def of_many(runs: str) -> str:
    """Return the SELECT of the given lines of many runs, each row with its job; `runs` is the CTE with the jobs."""
    return f"""    SELECT tenant_id, id, l.seq, l.times::timestamptz[], l.levels, {closed(runs)}::text[]
    FROM unnest(%(owner_tenants)s::text[], %(owners)s::uuid[], %(seqs)s::bigint[], %(times)s::text[],
                %(levels)s::text[], %(msgs)s::text[]) AS l (tenant_id, id, seq, times, levels, msgs)
    JOIN {runs} USING (tenant_id, id)"""


_APPEND_LINES = Prepared(
    "append_lines",
    f"""
WITH reported AS (
    UPDATE jobs AS j SET progress = %(progress)s::json FROM {ONE_RUN} AS r
    WHERE {OWNS} AND %(progress)s::json IS NOT NULL
), owned AS (
    SELECT j.tenant_id, j.id FROM jobs AS j, {ONE_RUN} AS r WHERE {OWNS}
), stored AS (
    {stores(of_one("owned"))}
)
SELECT id FROM owned
""",
)


def append(
    connection: Connection,
    *,
    run: RunKey,
    claim_id: str | None = None,
    lines: Sequence[LogLine],
    progress_json: str | None = None,
    are_apart: bool = False,
) -> bool:
    """Store a run's log lines and progress. Returns False and stores nothing if the run has lost its claim.

    A later call may repeat lines, together with the following ones. `are_apart`: a later call may repeat any subset, so
    store each line in a separate row.
    """
    of_rows = [[line] for line in lines] if are_apart else rows_of(lines)
    parameters = rows.run_parameters(run) | {"held_claim_id": claim_id, "progress": progress_json} | columns(of_rows)
    return bool(_APPEND_LINES.run(connection, parameters))


def opening_line(job: Job) -> LogLine:
    """Return the opening line of the run that a claim of `job` started."""
    assert job.started_at is not None
    msg = OPENING if job.first_started_at is None else CONTINUING
    return LogLine(seq=job.run_no * SEQ_PER_RUN, ts=job.started_at, level=LogLevel.INFO, msg=msg)


def rows_of(lines: Sequence[LogLine]) -> list[Sequence[LogLine]]:
    """Group lines into rows of `job_logs`: a row ends before a gap in `seq`, or when it is full."""
    found: list[list[LogLine]] = []
    for line in lines:
        if found and line.seq == found[-1][-1].seq + 1 and len(found[-1]) < LINES_PER_ROW:
            found[-1].append(line)
        else:
            found.append([line])
    return [*found]


def columns(of_rows: Sequence[Sequence[LogLine]]) -> dict[str, str]:
    """Return rows of lines as array literals; the times and messages of a row are arrays within a string."""
    return {
        "seqs": array([str(row[0].seq) for row in of_rows]),
        "times": text_array([array([line.ts.isoformat() for line in row]) for row in of_rows]),
        "levels": array(["".join(line.level.value[0] for line in row) for row in of_rows]),
        "msgs": text_array([text_array([line.msg for line in row]) for row in of_rows]),
    }
