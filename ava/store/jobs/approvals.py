"""Approvals: a run requests a decision, a person decides, or the time passes. All race for one `pending` row.

Each transaction locks the approval's job first, as the end of a job does, and then changes the row if it is still
pending. The same statement writes the result into the job's journal, and the wake.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from ava.domain import ids
from ava.domain.access import actor
from ava.domain.access.actor import Actor
from ava.domain.approval import Approval, ApprovalDecision, ApprovalFilter, ApprovalRequest, ApprovalStatus, OnTimeout
from ava.domain.counts import MAX_IN_TOTAL, PageBounds
from ava.domain.jobs.job import RunKey
from ava.domain.jobs.waits import EntryState, JournalKind, NewEntry
from ava.domain.notices.notice import NoticeEvent, Occurrence
from ava.domain.secrets.redaction import redact
from ava.domain.webhooks.webhook_events import Event, EventType, make_body
from ava.store.access import api_keys
from ava.store.engine import clock
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement, text_array
from ava.store.jobs import journal, rows
from ava.store.jobs.transitions import cancel, edges
from ava.store.jobs.transitions.cancel import CancelRequest
from ava.store.jobs.transitions.rules import ONE_RUN, OWNS
from ava.store.webhooks import notice_windows, webhook_events

ROWS = RecordRows(
    Approval,
    "a",
    columns={"decisions": "a.decisions::text"},
    readers={"decisions": lambda stored: [ApprovalDecision.read(each) for each in json.loads(stored)]},
)
approval_uuid = partial(ids.to_uuid, "apr")

# Requests -------------------------------------------------------------------------------------------------------------

_LOCK_RUN = Statement(f"""
SELECT j.worker_id, coalesce(j.origin, j.triggered_by) FROM jobs AS j, {ONE_RUN} AS r WHERE {OWNS} FOR UPDATE OF j
""")
_LATEST = Statement(f"""
SELECT {ROWS.columns} FROM approvals AS a
WHERE a.tenant_id = %(tenant_id)s AND a.job_id = %(id)s::uuid AND a.name = %(name)s
    AND (a.status = 'pending' OR a.payload_hash = %(payload_hash)s AND a.status IN ('approved', 'denied'))
ORDER BY a.id DESC LIMIT 1
""")
_WITHDRAW = Statement("""
UPDATE approvals AS a SET status = 'cancelled', decided_at = clock_timestamp()
WHERE a.tenant_id = %(tenant_id)s AND a.id = %(approval_id)s::uuid AND a.status IS NOT DISTINCT FROM 'pending'
""")
_INSERT = Statement(f"""
INSERT INTO approvals AS a (tenant_id, job_id, worker_id, name, title, payload, payload_hash, schema, roles, users,
    not_by, requesters, count, on_timeout, escalate_roles, remind_at, expires_at)
VALUES (%(tenant_id)s, %(id)s::uuid, %(worker_id)s, %(name)s, %(title)s, %(payload)s::json, %(payload_hash)s,
    %(schema)s::json, %(roles)s::text[], %(users)s::text[], %(not_by)s, %(requesters)s::text[], %(count)s,
    %(on_timeout)s, %(escalate_roles)s::text[], clock_timestamp() + %(remind)s * interval '1 second',
    clock_timestamp() + %(timeout)s * interval '1 second')
RETURNING {ROWS.columns}
""")


def request(
    connection: Connection, *, run: RunKey, claim_id: str | None, attempt: int, name: str, wanted: ApprovalRequest
) -> NewEntry | None:
    """Request a decision in a run's transaction. Returns the journal's entry; None if the run has lost its job.

    A pending request or a decision with the same content is reused; a pending one with other content is withdrawn.
    """
    given = rows.run_parameters(run) | {"held_claim_id": claim_id, "name": name, "payload_hash": wanted.payload_hash}
    job = connection.exec_driver_sql(_LOCK_RUN, given).first()
    if job is None:
        return None
    worker_id, identities = job
    row = connection.exec_driver_sql(_LATEST, given).first()
    found = None if row is None else ROWS.read(row)
    if found is not None and found.payload_hash != wanted.payload_hash:
        connection.exec_driver_sql(_WITHDRAW, given | {"approval_id": approval_uuid(found.id)})
        row = connection.exec_driver_sql(_LATEST, given).first()
        found = None if row is None else ROWS.read(row)
    if found is None:
        found = insert(
            connection,
            wanted,
            tenant_id=run.tenant_id,
            job_uuid=str(given["id"]),
            worker_id=worker_id,
            name=name,
            identities=actor.split(identities),
        )
        # So that the end of the job withdraws the request.
        edges.mark_awaited(connection, [(run.tenant_id, str(rows.job_uuid(run.job_id)))])
    is_pending = found.status is ApprovalStatus.PENDING
    entry = NewEntry(
        kind=JournalKind.APPROVAL,
        name=name,
        state=EntryState.WAITS if is_pending else EntryState.DONE,
        value_json=found.journal_json,
    )
    written = journal.write(connection, run=run, claim_id=claim_id, attempt=attempt, entries=[entry])
    return entry if written else None


def insert(
    connection: Connection,
    wanted: ApprovalRequest,
    *,
    tenant_id: str,
    job_uuid: str,
    worker_id: str,
    name: str | None,
    identities: Iterable[Actor],
) -> Approval:
    """Store a request of a job with these identities, and its events, in a transaction. Returns the approval."""
    behind = api_keys.behind(connection, tenant_id=tenant_id, actors=identities)
    given = {
        "tenant_id": tenant_id,
        "id": job_uuid,
        "worker_id": worker_id,
        "name": name,
        "payload_hash": wanted.payload_hash,
        "requesters": [each for each in behind.values() if each is not None],
        "title": wanted.title,
        "payload": wanted.payload_json,
        "schema": wanted.schema_json,
        "roles": list(wanted.roles),
        "users": None if wanted.users is None else list(wanted.users),
        "not_by": wanted.not_by,
        "count": wanted.count,
        "on_timeout": wanted.on_timeout.value,
        "timeout": wanted.timeout_seconds,
        "remind": wanted.reminder_seconds,
        "escalate_roles": None if wanted.escalate_roles is None else list(wanted.escalate_roles),
    }
    found = ROWS.read(connection.exec_driver_sql(_INSERT, given).one())
    _notify(connection, EventType.APPROVAL_REQUESTED, [found])
    return found


# Decisions and timeouts -----------------------------------------------------------------------------------------------

_LOCK_JOBS = Statement("""
SELECT j.id::text FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS w (tenant_id, id)
JOIN jobs AS j ON j.tenant_id = w.tenant_id AND j.id = w.id ORDER BY j.id FOR NO KEY UPDATE OF j
""")
# A separate statement, because a statement that waits for a lock still sees other tables as they were when it began.
_LOCK = Statement(f"""
SELECT {ROWS.columns}, clock_timestamp() FROM approvals AS a
WHERE a.tenant_id = %(tenant_id)s AND a.id = %(id)s::uuid FOR UPDATE OF a
""")


def lock(connection: Connection, *, tenant_id: str, approval_id: str) -> tuple[Approval, datetime] | None:
    """Lock a tenant's approval and its job. Returns it and PostgreSQL's time; None if there is no such approval."""
    found = show(connection, tenant_id=tenant_id, approval_id=approval_id)
    if found is None:
        return None
    _lock_jobs(connection, [found])
    row = connection.exec_driver_sql(_LOCK, {"tenant_id": tenant_id, "id": approval_uuid(approval_id)}).first()
    return None if row is None else (ROWS.read(row), row[-1])


def _lock_jobs(connection: Connection, of: Sequence[Approval]) -> None:
    given = {"tenants": [each.tenant_id for each in of], "ids": [rows.job_uuid(each.job_id) for each in of]}
    connection.exec_driver_sql(_LOCK_JOBS, given)


# The job that waits is woken by itself. A result stays in an entry that waits until the handler reads it, as an event.
_CHANGE = Statement("""
WITH changed AS (
    UPDATE approvals AS a SET status = c.status, decisions = c.decisions::json, deciders = c.deciders::text[],
        decided_at = CASE WHEN c.status <> 'pending' THEN c.at END
    FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(statuses)s::text[], %(decisions)s::text[],
                %(deciders)s::text[], %(values)s::text[], %(ats)s::timestamptz[])
         AS c (tenant_id, id, status, decisions, deciders, value, at)
    WHERE a.tenant_id = c.tenant_id AND a.id = c.id AND a.status IS NOT DISTINCT FROM 'pending'
    RETURNING a.tenant_id, a.id, a.job_id, a.name, a.status, c.value
), marked AS (
    UPDATE job_journal AS k SET event_id = c.id, value = c.value::json FROM changed AS c
    WHERE k.tenant_id = c.tenant_id AND k.job_id = c.job_id AND k.kind = 'approval' AND k.name = c.name
        AND k.state = 'waits' AND c.status <> 'pending'
), woken AS (
    INSERT INTO wakes (tenant_id, kind, source_id)
    SELECT tenant_id, 'job', job_id FROM changed WHERE status <> 'pending'
)
SELECT tenant_id, id::text FROM changed
""")


def change(connection: Connection, changed: Sequence[Approval]) -> set[str]:
    """Write the new statuses and decisions of pending approvals, in a transaction that has locked them.

    A denial, or a timeout, of a job before its first start cancels the job. Returns the ids of the approvals that were
    still pending.
    """
    if not changed:
        return set()
    given = {
        "tenants": [each.tenant_id for each in changed],
        "ids": [approval_uuid(each.id) for each in changed],
        "statuses": [each.status.value for each in changed],
        "decisions": [json.dumps([decision.record() for decision in each.decisions]) for each in changed],
        "deciders": [text_array(each.deciders) for each in changed],
        "values": [each.journal_json for each in changed],
        "ats": [each.decided_at for each in changed],
    }
    found = {ids.encode("apr", uuid) for _, uuid in connection.exec_driver_sql(_CHANGE, given)}
    ended = [each for each in changed if each.id in found and each.status is not ApprovalStatus.PENDING]
    late = [each for each in ended if each.status is ApprovalStatus.EXPIRED]
    _notify(connection, EventType.APPROVAL_EXPIRED, late)
    _notify(connection, EventType.APPROVAL_DECIDED, [each for each in ended if each not in late])
    refused = [each for each in ended if each.name is None and each.status is not ApprovalStatus.APPROVED]
    cancel.cancel_each(connection, [_cancel_of(each) for each in refused])
    return found


def _cancel_of(refused: Approval) -> CancelRequest:
    """Return the end of a job that waited before its first start."""
    is_late = refused.status is ApprovalStatus.EXPIRED
    return CancelRequest(
        tenant_id=refused.tenant_id,
        job_id=refused.job_id,
        cancelled_by=None if is_late else refused.decisions[-1].by.id,
        error=refused.denial,
        is_overdue=is_late and refused.on_timeout is OnTimeout.FAIL,
    )


#: Condition: some approval has not been decided in time.
ARE_DUE = """(SELECT expires_at FROM approvals WHERE status = 'pending' AND expires_at <= now()
    ORDER BY expires_at LIMIT 1) IS NOT NULL"""
_DUE = f"SELECT {ROWS.columns} FROM approvals AS a WHERE a.status = 'pending' AND a.expires_at <= now()"
_FIND_DUE = Statement(f"{_DUE} ORDER BY a.expires_at LIMIT %(limit)s")
_LOCK_DUE = Statement(f"{_DUE} AND a.id = ANY(%(ids)s::uuid[]) FOR UPDATE OF a")


def expire(connection: Connection, *, limit: int) -> list[Approval]:
    """End approvals that were not decided in time, in a transaction. Returns them."""
    due = [ROWS.read(row) for row in connection.exec_driver_sql(_FIND_DUE, {"limit": limit})]
    if not due:
        return []
    _lock_jobs(connection, due)
    now = clock.now(connection)
    given = {"ids": [approval_uuid(each.id) for each in due]}
    locked = [ROWS.read(row) for row in connection.exec_driver_sql(_LOCK_DUE, given)]
    expired = [replace(each, status=ApprovalStatus.EXPIRED, decided_at=now) for each in locked]
    change(connection, expired)
    return expired


_REMIND = Statement(f"""
UPDATE approvals AS a SET remind_at = NULL, escalate_roles = NULL, roles = a.roles || coalesce(a.escalate_roles, '{{}}')
FROM (
    SELECT tenant_id, id FROM approvals WHERE status = 'pending' AND remind_at <= now()
    ORDER BY remind_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) AS d WHERE a.tenant_id = d.tenant_id AND a.id = d.id RETURNING {ROWS.columns}
""")


def remind(connection: Connection, *, limit: int) -> int:
    """Send the reminders of pending approvals; then further roles may decide. Returns their number."""
    found = [ROWS.read(row) for row in connection.exec_driver_sql(_REMIND, {"limit": limit})]
    _notify(connection, EventType.APPROVAL_REMINDED, found)
    return len(found)


#: The events that notices report too.
_NOTICE_EVENTS = {
    EventType.APPROVAL_REQUESTED: NoticeEvent.APPROVAL_REQUESTED,
    EventType.APPROVAL_REMINDED: NoticeEvent.APPROVAL_REMINDED,
}


def _notify(connection: Connection, kind: EventType, of: Sequence[Approval]) -> None:
    """Store the events of approvals, and report them to notices, in the transaction that changes them."""
    for each in of:
        event = Event.new(kind, tenant_id=each.tenant_id, created_at=clock.now(connection))
        webhook_events.insert(connection, event, make_body(event, redact(each.record())))
    if kind in _NOTICE_EVENTS:
        notice_windows.note(connection, [_occurrence(_NOTICE_EVENTS[kind], each) for each in of])


def _occurrence(event: NoticeEvent, of: Approval) -> Occurrence:
    facts = {"approval_id": of.id, "title": of.title, "worker_id": of.worker_id, "job_id": of.job_id}
    return Occurrence(tenant_id=of.tenant_id, event=event, facts=facts)


# Reads ----------------------------------------------------------------------------------------------------------------

_SHOW = Statement(
    f"SELECT {ROWS.columns} FROM approvals AS a WHERE a.tenant_id = %(tenant_id)s AND a.id = %(id)s::uuid"
)


def show(connection: Connection, *, tenant_id: str, approval_id: str) -> Approval | None:
    return ROWS.first(connection.exec_driver_sql(_SHOW, {"tenant_id": tenant_id, "id": approval_uuid(approval_id)}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Decider:
    """Who may decide: a user or a key, with the person behind it and its role."""

    id: str
    person: str
    #: The roles up to its own.
    roles: Collection[str]


_MATCHING = """a.tenant_id = %(tenant_id)s AND (%(status)s::text IS NULL OR a.status = %(status)s)
    AND (%(job_id)s::uuid IS NULL OR a.job_id = %(job_id)s::uuid)
    AND (%(decider)s::text IS NULL OR a.status = 'pending' AND %(person)s <> ALL(a.deciders)
        AND NOT (a.not_by AND %(person)s = ANY(a.requesters))
        AND CASE WHEN a.users IS NULL THEN a.roles && %(roles)s::text[] ELSE %(decider)s = ANY(a.users) END)"""
_PAGE = f"""
SELECT {ROWS.columns} FROM approvals AS a
WHERE {_MATCHING} AND (%(before_id)s::uuid IS NULL OR a.id {{beyond}} %(before_id)s::uuid)
ORDER BY a.id {{direction}} LIMIT %(limit)s OFFSET %(offset)s
"""
_OLDEST = Statement(_PAGE.format(beyond=">", direction="ASC"))
_NEWEST = Statement(_PAGE.format(beyond="<", direction="DESC"))
_COUNT = Statement(f"SELECT count(*) FROM (SELECT FROM approvals AS a WHERE {_MATCHING} LIMIT {MAX_IN_TOTAL}) AS n")


def page(
    connection: Connection, *, tenant_id: str, wanted: ApprovalFilter, decider: Decider | None, bounds: PageBounds
) -> tuple[list[Approval], int]:
    """Return a page of approvals: pending ones with the oldest first, other lists with the newest first.

    Also returns the number of matches, counted up to `MAX_IN_TOTAL`.
    """
    given = _parameters(tenant_id, wanted, decider)
    statement = _OLDEST if wanted.is_of_pending else _NEWEST
    found = [ROWS.read(row) for row in connection.exec_driver_sql(statement, given | bounds.before("apr"))]
    return found, int(connection.exec_driver_sql(_COUNT, given).scalar_one())


def _parameters(tenant_id: str, wanted: ApprovalFilter, decider: Decider | None) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "status": None if wanted.status is None else wanted.status.value,
        "job_id": None if wanted.job_id is None else rows.job_uuid(wanted.job_id),
        "decider": None if decider is None else decider.id,
        "person": None if decider is None else decider.person,
        "roles": [] if decider is None else list(decider.roles),
    }
