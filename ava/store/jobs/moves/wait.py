"""Waits: a run ends because its handler waits. The end, the wait, its edges and the journal are one statement."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ava.domain.jobs.job import LogLine, RunEnd, Status
from ava.domain.jobs.wait_reasons import WOKEN, WaitsFor
from ava.domain.jobs.waits import Wait, WaitCondition
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.jobs import journal, rows
from ava.store.jobs.moves import log_lines
from ava.store.jobs.moves.end import LAST_LINES, ONE_END, end_parameters, ends

#: The ids of jobs in `waiting_for`; the edges have all of them.
MAX_LISTED = 100

# The job wakes itself, because one that it waits for may have ended before its edges were there, or its event may have
# been found. The edges of an earlier wait are of no use any more; those with the number 0 are of its bulk. Nor is a
# wait for an event that the handler has not asked for again: it would end this one.
_END_WAITING = Prepared(
    "end_waiting",
    f"""
WITH {ends(ONE_END, waits_for="%(waits_for)s::text")}, waiting AS (
    SELECT * FROM ended WHERE status = 'queued'
), noted AS (
    INSERT INTO job_waits (tenant_id, job_id, run_no, condition, waiting_for)
    SELECT tenant_id, id, run_no, %(condition)s, %(waiting_for)s::json FROM waiting
), edges AS (
    INSERT INTO job_edges (tenant_id, job_id, run_no, after_id, n)
    SELECT w.tenant_id, w.id, w.run_no, a.id, a.n
    FROM waiting AS w CROSS JOIN unnest(%(after)s::uuid[]) WITH ORDINALITY AS a (id, n)
    ON CONFLICT DO NOTHING
), outdated AS (
    DELETE FROM job_edges AS e USING waiting AS w
    WHERE e.tenant_id = w.tenant_id AND e.job_id = w.id AND e.run_no > 0 AND e.run_no < w.run_no
), abandoned AS (
    DELETE FROM job_journal AS k USING waiting AS w
    WHERE k.tenant_id = w.tenant_id AND k.job_id = w.id AND k.kind = 'event' AND k.state = 'waits'
        AND k.name <> ALL(%(kept_names)s::text[])
), woken AS (
    INSERT INTO wakes (tenant_id, kind, source_id)
    SELECT tenant_id, 'job', id FROM waiting WHERE %(waits_for)s IN {rows.reasons(WOKEN)}
), journalled AS (
    {journal.stores("waiting")}
), stored AS (
    {log_lines.stores(LAST_LINES)}
)
SELECT status FROM ended
""",
)


def end_waiting(
    connection: Connection,
    run_end: RunEnd,
    lines: Sequence[LogLine],
    progress_json: str | None = None,
    *,
    attempt: int,
    claim_id: str | None = None,
) -> Status | None:
    """Write that a run has ended because its handler waits for `run_end.wait`. Returns what `end` returns.

    The job returns to the queue when the wait is over, or its time-out. A requested cancel decides as in `end`.
    """
    wait = run_end.wait
    assert wait is not None
    parameters = {
        **end_parameters(run_end, lines, progress_json, claim_id),
        "retry_in": wait.timeout_seconds,
        "waits_for": _REASONS.get(wait.condition, WaitsFor.CHILDREN).value,
        "condition": wait.condition.value,
        "waiting_for": waiting_for_json(wait),
        "kept_names": [*wait.event_names, *(entry.name for entry in wait.entries)],
        "after": [rows.job_uuid(job_id) for job_id in wait.job_ids],
        **journal.parameters(wait.entries, attempt=attempt),
    }
    found = _END_WAITING.run(connection, parameters)
    return Status(found[0][0]) if found else None


_REASONS = {WaitCondition.EVENT: WaitsFor.EVENT, WaitCondition.TIME: WaitsFor.SLEEP}


def waiting_for_json(wait: Wait) -> str:
    """Returns the record of a wait as JSON text, without the time when it is over, which the job's row has."""
    shown: dict[str, Any] = {
        "jobs": list(wait.job_ids[:MAX_LISTED]),
        "event": None if wait.event is None else dict(wait.event),
        # `rows.job` writes the time in its place, so it is the last one.
        "until": None,
    }
    return json.dumps(shown)
