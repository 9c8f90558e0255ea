"""Begin waits: end a run because its handler waits. Writes the end, wait, edges and journal in one transaction."""

from __future__ import annotations

import json
from typing import Any

from ava.domain.jobs.job import Status
from ava.domain.jobs.wait_reasons import WOKEN
from ava.domain.jobs.waits import Wait
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.jobs import journal, rows
from ava.store.jobs.transitions import end
from ava.store.jobs.transitions.ended_runs import EndedRun, requeue_parameters

#: Maximum of jobs listed in `waiting_for`; the edges contain all.
MAX_LISTED = 100

# The job wakes itself, because an awaited job may have ended before the edges existed, or its event may already have
# been found. Edges of an earlier wait are obsolete; edges with run number 0 belong to its bulk. A pending wait for an
# event or a decision that the handler no longer requests is deleted, because it would end this wait. Its approval is
# cancelled. The statement uses the row that `REQUEUE` has written and locked, and writes nothing if the wait already
# exists.
_BEGIN_WAIT = Prepared(
    "begin_wait",
    f"""
WITH waiting AS (
    INSERT INTO job_waits (tenant_id, job_id, run_no, condition, waiting_for)
    SELECT j.tenant_id, j.id, j.run_no, %(condition)s, %(waiting_for)s::json FROM jobs AS j
    WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid AND j.run_no = %(run_no)s
        AND j.status IS NOT DISTINCT FROM 'queued' AND j.claim_id IS NOT DISTINCT FROM %(held_claim_id)s::uuid
        AND j.waits_for = %(reason)s
    ON CONFLICT DO NOTHING RETURNING tenant_id, job_id AS id, run_no
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
    WHERE k.tenant_id = w.tenant_id AND k.job_id = w.id AND k.state = 'waits'
        AND (k.kind = 'event' AND k.name <> ALL(%(retained_names)s::text[])
            OR k.kind = 'approval' AND k.name <> ALL(%(approval_names)s::text[]))
    RETURNING k.tenant_id, k.job_id, k.kind, k.name
), withdrawn AS (
    UPDATE approvals AS a SET status = 'cancelled', decided_at = clock_timestamp() FROM abandoned AS k
    WHERE k.kind = 'approval' AND a.tenant_id = k.tenant_id AND a.job_id = k.job_id AND a.name = k.name
        AND a.status IS NOT DISTINCT FROM 'pending'
), journalled AS (
    {journal.stores("waiting")}
), woken AS (
    INSERT INTO wakes (tenant_id, kind, source_id)
    SELECT tenant_id, 'job', id FROM waiting WHERE %(reason)s IN {rows.reasons(WOKEN)}
)
SELECT 1 FROM waiting
""",
)


def end_waiting(connection: Connection, ended: EndedRun) -> Status | None:
    """End a run because its handler waits. Returns what `end` returns.

    The job returns to the queue when the wait is satisfied or times out. A job with a stop request stops. The end and
    the wait are one message to the server, and so one transaction.
    """
    wait = ended.outcome.wait
    assert wait is not None
    parameters = {
        **requeue_parameters([ended]),
        **rows.run_parameters(ended.outcome.run),
        "held_claim_id": ended.claim_id,
        "reason": wait.waits_for.value,
        "condition": wait.condition.value,
        "waiting_for": waiting_for_json(wait),
        "approval_names": list(wait.approval_names),
        "retained_names": [*wait.event_names, *(entry.name for entry in wait.entries)],
        "after": [rows.job_uuid(job_id) for job_id in wait.job_ids],
        **journal.parameters(wait.entries, attempt=ended.values.run_attempt),
    }
    if _BEGIN_WAIT.run(connection, parameters, after=end.REQUEUE):
        return Status.QUEUED
    return end.end_stopped(connection, [ended]).get(ended.key)


def waiting_for_json(wait: Wait) -> str:
    """Return the record of a wait as JSON, without its timeout, which the job's row has."""
    shown: dict[str, Any] = {
        "jobs": list(wait.job_ids[:MAX_LISTED]),
        "event": None if wait.event is None else dict(wait.event),
        "approval": wait.approval_id,
        # Must be last, because `rows.job` inserts the time here.
        "until": None,
    }
    return json.dumps(shown)
