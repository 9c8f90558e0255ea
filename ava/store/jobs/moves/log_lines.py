"""The log lines of runs, as statements of moves store them, and as a run appends them while it goes on."""

from __future__ import annotations

from collections.abc import Sequence

from ava.domain.jobs.job import LogLine, RunKey
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.jobs import rows
from ava.store.jobs.moves.rules import ONE_RUN, OWNS

__all__ = ["CONTINUING", "OPENING", "SEQ_OF_OTHERS", "SEQ_PER_RUN", "append", "array", "columns", "quote"]

#: A line's `seq` is the run's number times this, plus the line's number in the run.
SEQ_PER_RUN = 2**32
#: The first log line of a run.
OPENING = "Worker handler started"
#: That of a run that continues an attempt whose handler has waited.
CONTINUING = "Handler continues"
#: Lines that another process writes about a run start here, after all lines that the run itself could write.
SEQ_OF_OTHERS = 2**31

_APPEND_LINES = Prepared(
    "append_lines",
    f"""
WITH reported AS (
    UPDATE jobs AS j SET progress = %(progress)s::json FROM {ONE_RUN} AS r
    WHERE {OWNS} AND %(progress)s::json IS NOT NULL
), owned AS (
    SELECT j.tenant_id, j.id FROM jobs AS j, {ONE_RUN} AS r WHERE {OWNS}
), stored AS (
    INSERT INTO job_logs (tenant_id, job_id, seq, ts, level, msg)
    SELECT owned.tenant_id, owned.id, l.seq, l.ts, l.level, l.msg
    FROM owned, unnest(%(seqs)s::bigint[], %(times)s::timestamptz[], %(levels)s::text[], %(msgs)s::text[])
         AS l (seq, ts, level, msg)
    ON CONFLICT DO NOTHING
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
) -> bool:
    """Store a run's log lines and progress. Returns False, and stores nothing, if the run has lost its claim."""
    parameters = rows.run_parameters(run) | {"held_claim_id": claim_id, "progress": progress_json} | columns(lines)
    return bool(_APPEND_LINES.run(connection, parameters))


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


def quote(text: str | None) -> str:
    """Returns a text as an element of an array literal (PostgreSQL manual, "Array Input and Output Syntax")."""
    if text is None:
        return "NULL"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
