"""The records of containments. `contained_scopes` has a row for each active one."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import partial

from ava.domain import ids
from ava.domain.access.actor import Actor
from ava.domain.containment import (
    ALL_TENANTS,
    ContainedScope,
    Containment,
    ContainmentProofs,
    ContainmentSpec,
    ContainmentState,
    NewTriggers,
)
from ava.domain.counts import PageBounds
from ava.domain.notices.notice import NoticeEvent, Occurrence
from ava.domain.webhooks.webhook_events import Event, EventType, make_body
from ava.store.engine import clock
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.engine.transactions import one_transaction
from ava.store.jobs.rows import job_uuid
from ava.store.webhooks import notice_windows, webhook_events

containment_uuid = partial(ids.to_uuid, "con")


def _scope(json_string: str) -> ContainedScope:
    row = json.loads(json_string)
    return ContainedScope(
        tenant_id=row["tenant_id"],
        worker_id=row["worker_id"],
        tag=None if row["tag_key"] is None else (row["tag_key"], row["tag_value"]),
        tree_id=None if row["tree_id"] is None else ids.encode("job", row["tree_id"]),
        key_id=row["key_id"],
        user_id=row["user_id"],
        identity_ids=tuple(row["identity_ids"] or ()),
        hook_id=row["hook_id"],
        source=row["source"],
    )


_ROWS = RecordRows(
    Containment,
    "c",
    columns={"scope": "c.scope::text", "running_jobs": "c.running"},
    readers={"scope": _scope, "by": Actor.of, "lifted_by": Actor.of},
    without=("running", "running_count"),
)
_COLUMNS, _containment = _ROWS.columns, _ROWS.read


def scope_json(scope: ContainedScope, *, refuses: bool = True) -> str:
    """Return a scope as a row of `contained_scopes`, without the containment's id."""
    key, value = scope.tag or (None, None)
    return json.dumps(
        {
            "tenant_id": scope.tenant_id,
            "refuses": refuses,
            "worker_id": scope.worker_id,
            "tag_key": key,
            "tag_value": value,
            "tree_id": None if scope.tree_id is None else job_uuid(scope.tree_id),
            "key_id": scope.key_id,
            "user_id": scope.user_id,
            "identity_ids": list(scope.identity_ids) or None,
            "hook_id": scope.hook_id,
            "source": scope.source,
            "causes": scope.causes or None,
        }
    )


# Serializes the calls of one tenant, so that the count of its containments is exact.
_LOCK_TENANT = Statement("""
SELECT pg_advisory_xact_lock(hashtextextended('containments of ' || %(tenant_id)s, 0))
""")
_COUNT_ACTIVE = Statement("SELECT count(*) FROM contained_scopes AS c WHERE c.tenant_id = %(tenant_id)s")


def has_capacity(connection: Connection, *, tenant_id: str, max_containments: int) -> bool:
    """Return True if the tenant may have another active containment; blocks its other calls until the end."""
    connection.exec_driver_sql(_LOCK_TENANT, {"tenant_id": tenant_id})
    found = connection.exec_driver_sql(_COUNT_ACTIVE, {"tenant_id": tenant_id}).scalar_one()
    return int(found) < max_containments


_CREATE = Statement(f"""
WITH c AS (
    INSERT INTO containments AS c (tenant_id, scope, reason, running, triggers, by, ends_at)
    SELECT %(tenant_id)s, %(scope)s::json, %(reason)s, %(running)s, %(triggers)s, %(by)s::jsonb,
        clock_timestamp() + %(ends_in_seconds)s * interval '1 second'
    RETURNING c.*
), active AS (
    INSERT INTO contained_scopes (tenant_id, containment_id, refuses, worker_id, tag_key, tag_value, tree_id,
                                  identity_ids, causes)
    SELECT c.tenant_id, c.id, s.refuses, s.worker_id, s.tag_key, s.tag_value, s.tree_id, s.identity_ids,
        s.causes
    FROM c CROSS JOIN LATERAL json_populate_record(NULL::contained_scopes, c.scope) AS s
)
SELECT {_COLUMNS} FROM c
""")


def create(connection: Connection, spec: ContainmentSpec, *, by: Actor) -> Containment:
    """Create an active containment. From the commit on, no statement that begins claims a job of its scope."""
    parameters = {
        "tenant_id": spec.scope.tenant_id,
        "scope": scope_json(spec.scope, refuses=spec.triggers is NewTriggers.REFUSE),
        "reason": spec.reason,
        "running": spec.running.value,
        "triggers": spec.triggers.value,
        "by": by.json,
        "ends_in_seconds": spec.ends_in_seconds,
    }
    created = _containment(connection.exec_driver_sql(_CREATE, parameters).one())
    _report(connection, created, EventType.CONTAINMENT_STARTED)
    return created


#: The events that notices report too.
_NOTICE_EVENTS = {
    EventType.CONTAINMENT_STARTED: NoticeEvent.CONTAINMENT_STARTED,
    EventType.CONTAINMENT_COMPLETED: NoticeEvent.CONTAINMENT_COMPLETED,
}


def _report(connection: Connection, of: Containment, kind: EventType) -> None:
    """Store an event of a containment, and report it to notices, in the transaction that changes it."""
    event = Event.new(kind, tenant_id=of.tenant_id, created_at=clock.now(connection))
    webhook_events.insert(connection, event, make_body(event, of.record))
    if kind in _NOTICE_EVENTS:
        facts = {"containment_id": of.id}
        noted = Occurrence(tenant_id=of.tenant_id, event=_NOTICE_EVENTS[kind], facts=facts)
        notice_windows.note(connection, [noted])


_IS_VISIBLE = f"(c.tenant_id = %(tenant_id)s OR c.tenant_id = '{ALL_TENANTS}')"
_SHOW = Statement(f"SELECT {_COLUMNS} FROM containments AS c WHERE {_IS_VISIBLE} AND c.id = %(id)s::uuid")
_LOCK = Statement(f"{_SHOW} FOR UPDATE")


def show(connection: Connection, *, tenant_id: str, containment_id: str, locks: bool = False) -> Containment | None:
    """Return a containment of a tenant or of all tenants. `locks`: lock it until the transaction ends."""
    parameters = {"tenant_id": tenant_id, "id": containment_uuid(containment_id)}
    statement = _LOCK if locks else _SHOW
    return _ROWS.first(connection.exec_driver_sql(statement, parameters))


_SETTLED = Statement("""
SELECT c.id::text FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS g (tenant_id, id)
JOIN containments AS c ON c.tenant_id = g.tenant_id AND c.id = g.id
WHERE c.complete_at IS NOT NULL OR c.state <> 'active'
""")


def settled(connection: Connection, containments: Collection[tuple[str, str]]) -> set[str]:
    """Return the ids of complete or ended containments among these, given as tenant and id."""
    parameters = {
        "tenants": [tenant_id for tenant_id, _ in containments],
        "ids": [containment_uuid(containment_id) for _, containment_id in containments],
    }
    return {ids.encode("con", uuid) for uuid in connection.exec_driver_sql(_SETTLED, parameters).scalars()}


_PAGE, _COUNT = _ROWS.newest("containments", f"{_IS_VISIBLE} AND (%(state)s::text IS NULL OR c.state = %(state)s)")


def page(
    connection: Connection, *, tenant_id: str, state: ContainmentState | None, bounds: PageBounds
) -> tuple[list[Containment], int]:
    """Return containments of a tenant and of all tenants, newest first, and the total."""
    return _ROWS.page(connection, (_PAGE, _COUNT), bounds, tenant_id=tenant_id, state=state)


_ACTIVE = Statement(f"SELECT {_COLUMNS} FROM containments AS c WHERE c.state = 'active' ORDER BY c.id")


def active(connection: Connection) -> Sequence[Containment]:
    """Return the active containments of all tenants, oldest first."""
    return [_containment(row) for row in connection.exec_driver_sql(_ACTIVE)]


_END = Statement(f"""
WITH c AS (
    UPDATE containments AS c SET state = %(state)s, lifted_at = clock_timestamp(), lifted_by = %(by)s::jsonb,
        held_count = %(held_count)s
    WHERE c.tenant_id = %(tenant_id)s AND c.id = %(id)s::uuid AND c.state = 'active'
        AND (%(by)s::jsonb IS NOT NULL OR c.ends_at <= clock_timestamp())
    RETURNING c.*
), ended AS (
    DELETE FROM contained_scopes AS s USING c WHERE s.tenant_id = c.tenant_id AND s.containment_id = c.id
)
SELECT {_COLUMNS} FROM c
""")


def end(connection: Connection, containment: Containment, *, held_count: int, by: Actor | None) -> Containment | None:
    """Lift a containment, or end it if its time has passed (`by` is None). Returns None if it is not active."""
    parameters = _key(containment) | {
        "state": (ContainmentState.ENDED if by is None else ContainmentState.LIFTED).value,
        "by": None if by is None else by.json,
        "held_count": held_count,
    }
    with one_transaction(connection):
        row = connection.exec_driver_sql(_END, parameters).first()
        if row is None:
            return None
        ended = _containment(row)
        _report(connection, ended, EventType.CONTAINMENT_LIFTED)
    return ended


def _key(containment: Containment) -> dict[str, object]:
    return {"tenant_id": containment.tenant_id, "id": containment_uuid(containment.id)}


# Each time is set once, in this order.
_ADVANCE = Statement(f"""
WITH was AS MATERIALIZED (
    SELECT w.effective_at, w.complete_at FROM containments AS w
    WHERE w.tenant_id = %(tenant_id)s AND w.id = %(id)s::uuid AND w.state = 'active' FOR UPDATE
)
UPDATE containments AS c SET
    claims_ended_at = CASE WHEN %(claims_ended)s THEN coalesce(c.claims_ended_at, clock_timestamp())
                           ELSE c.claims_ended_at END,
    swept_at = CASE WHEN %(swept)s THEN coalesce(c.swept_at, clock_timestamp()) ELSE c.swept_at END,
    effective_at = CASE WHEN %(effective)s THEN coalesce(c.effective_at, clock_timestamp()) ELSE c.effective_at END,
    complete_at = CASE WHEN %(complete)s THEN coalesce(c.complete_at, clock_timestamp()) ELSE c.complete_at END,
    held_count = coalesce(%(held_count)s, c.held_count)
FROM was WHERE c.tenant_id = %(tenant_id)s AND c.id = %(id)s::uuid AND c.state = 'active'
RETURNING {_COLUMNS}, was.effective_at IS NULL AND c.effective_at IS NOT NULL,
    was.complete_at IS NULL AND c.complete_at IS NOT NULL
""")


def advance(
    connection: Connection,
    containment: Containment,
    *,
    claims_ended: bool = False,
    swept: bool = False,
    effective: bool = False,
    complete: bool = False,
    held_count: int | None = None,
) -> Containment | None:
    """Record the progress of an active containment. Returns None if it is not active any more."""
    parameters = _key(containment) | {
        "claims_ended": claims_ended,
        "swept": swept,
        "effective": effective,
        "complete": complete,
        "held_count": held_count,
    }
    with one_transaction(connection):
        row = connection.exec_driver_sql(_ADVANCE, parameters).first()
        if row is None:
            return None
        found = _containment(row)
        *_, became_effective, became_complete = row
        if became_effective:
            _report(connection, found, EventType.CONTAINMENT_EFFECTIVE)
        if became_complete:
            _report(connection, found, EventType.CONTAINMENT_COMPLETED)
    return found


# Each proof is written once.
_WRITE_PROOF = Statement("""
UPDATE containments AS c SET complete_proof = coalesce(c.complete_proof, %(complete)s),
    lifted_proof = coalesce(c.lifted_proof, %(lifted)s)
WHERE c.tenant_id = %(tenant_id)s AND c.id = %(id)s::uuid
""")


def write_proof(connection: Connection, containment: Containment, jws: str) -> None:
    """Store the signed record of a containment: of its completion while it is active, otherwise of its lift."""
    kinds = {"complete": None, "lifted": None, "complete" if containment.is_active else "lifted": jws}
    connection.exec_driver_sql(_WRITE_PROOF, _key(containment) | kinds)


_PROOFS = Statement("""
SELECT c.complete_proof, c.lifted_proof FROM containments AS c
WHERE c.tenant_id = %(tenant_id)s AND c.id = %(id)s::uuid
""")


def proofs(connection: Connection, containment: Containment) -> ContainmentProofs:
    """Return the signed records of a containment."""
    complete, lifted = connection.exec_driver_sql(_PROOFS, _key(containment)).one()
    return ContainmentProofs(complete=complete, lifted=lifted)


# A job that another containment has asked to stop before counts for both.
_RECORD_STOPS = Statement("""
WITH stopped AS (
    INSERT INTO contained_stops (tenant_id, containment_id, job_tenant_id, job_id)
    SELECT %(tenant_id)s, %(id)s::uuid, s.tenant_id, s.id FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS s
        (tenant_id, id)
    ON CONFLICT DO NOTHING RETURNING tenant_id
)
UPDATE containments AS c SET stopped_count = c.stopped_count + (SELECT count(*) FROM stopped)
WHERE c.tenant_id = %(tenant_id)s AND c.id = %(id)s::uuid
""")


def record_stops(connection: Connection, containment: Containment, jobs: Sequence[tuple[str, str]]) -> None:
    """Record the jobs, given as tenant and UUID, that a containment has asked to stop, each once."""
    parameters = _key(containment) | {"tenants": [each[0] for each in jobs], "ids": [each[1] for each in jobs]}
    connection.exec_driver_sql(_RECORD_STOPS, parameters)


# The jobs of a containment are deleted with it.
_DELETE_OLD = Statement("""
WITH old AS (
    DELETE FROM containments WHERE ctid = ANY(ARRAY(
        SELECT c.ctid FROM containments AS c
        WHERE c.state <> 'active' AND c.lifted_at < now() - %(days)s * interval '1 day' LIMIT %(limit)s))
    RETURNING tenant_id, id
), stops AS (
    DELETE FROM contained_stops AS s USING old WHERE s.tenant_id = old.tenant_id AND s.containment_id = old.id
)
SELECT count(*) FROM old
""")


def delete_old(connection: Connection, *, retention_days: float, limit: int) -> int:
    """Delete containments that were lifted or ended before retention. Returns their number."""
    parameters = {"days": retention_days, "limit": limit}
    return int(connection.exec_driver_sql(_DELETE_OLD, parameters).scalar_one())
