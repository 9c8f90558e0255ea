"""Bulk operations: tenants create, show and abort them; their batches advance them."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import partial

from ava.domain import ids
from ava.domain.access.caller import Caller, Role
from ava.domain.containment import ALL_TENANTS
from ava.domain.counts import MAX_IN_TOTAL, PageBounds
from ava.domain.jobs.bulk_operation import BulkKind, BulkOperation, BulkState
from ava.domain.jobs.job_filter import JobFilter
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Deletion, Statement
from ava.store.jobs import rows

_ROWS = RecordRows(
    BulkOperation,
    "o",
    columns={"job_filter": "o.filter::text"},
    readers={
        "job_filter": lambda json_string: JobFilter.from_record(json.loads(json_string)),
        "role": Role.__getitem__,
    },
)
_COLUMNS, _operation = _ROWS.columns, _ROWS.read


operation_uuid = partial(ids.to_uuid, "op")


# Serializes the calls of one tenant, so that the count of its operations is exact.
_LOCK_TENANT = Statement("""
SELECT pg_advisory_xact_lock(hashtextextended('bulk operations of ' || %(tenant_id)s, 0))
""")
_COUNT_RUNNING = Statement("""
SELECT count(*) FROM bulk_operations WHERE tenant_id = %(tenant_id)s AND state = 'running'
""")


def has_capacity(connection: Connection, *, tenant_id: str, max_operations: int) -> bool:
    """Return True if the tenant may start another operation in this transaction; blocks its other calls."""
    connection.exec_driver_sql(_LOCK_TENANT, {"tenant_id": tenant_id})
    return int(connection.exec_driver_sql(_COUNT_RUNNING, {"tenant_id": tenant_id}).scalar_one()) < max_operations


# Ids are ordered by time, so jobs with smaller ids existed before the operation. If the clock was set back, older jobs
# have greater ids: then the bound is the end of the newest job's millisecond.
_CREATE = Statement(f"""
INSERT INTO bulk_operations AS o (id, tenant_id, kind, filter, total, before_id, created_by, role, request_id,
                                  containment_id, cancels_held)
SELECT new.id, %(tenant_id)s, %(kind)s, %(filter)s::json, %(total)s,
    CASE WHEN newest.id >= new.id THEN (left(newest.id::text, 13) || '-7fff-bfff-ffffffffffff')::uuid ELSE new.id END,
    %(created_by)s, %(role)s, %(request_id)s, %(containment_id)s::uuid, %(cancels_held)s
FROM (SELECT ava_uuid7() AS id OFFSET 0) AS new
LEFT JOIN (
    SELECT j.id FROM jobs AS j WHERE j.tenant_id = %(tenant_id)s ORDER BY j.tenant_id DESC, j.id DESC LIMIT 1
) AS newest ON true
RETURNING {_COLUMNS}
""")


def create(
    connection: Connection,
    caller: Caller,
    *,
    kind: BulkKind,
    job_filter: JobFilter,
    total: int,
    request_id: str,
    containment_id: str | None = None,
    cancels_held: bool | None = None,
) -> BulkOperation:
    """Create an operation; its first batch may run immediately."""
    parameters = {
        "tenant_id": caller.tenant_id,
        "kind": kind.value,
        "filter": json.dumps(job_filter.as_record()),
        "total": total,
        "created_by": caller.actor.text,
        "role": caller.role.name,
        "request_id": request_id,
        "containment_id": None if containment_id is None else ids.to_uuid("con", containment_id),
        "cancels_held": cancels_held,
    }
    return _operation(connection.exec_driver_sql(_CREATE, parameters).one())


_SHOW = Statement(f"""
SELECT {_COLUMNS} FROM bulk_operations AS o WHERE o.tenant_id = %(tenant_id)s AND o.id = %(id)s::uuid
""")


def show(connection: Connection, *, tenant_id: str, operation_id: str) -> BulkOperation | None:
    parameters = {"tenant_id": tenant_id, "id": operation_uuid(operation_id)}
    return _ROWS.first(connection.exec_driver_sql(_SHOW, parameters))


_PAGE = Statement(f"""
SELECT {_COLUMNS} FROM bulk_operations AS o
WHERE o.tenant_id = %(tenant_id)s AND (%(before_id)s::uuid IS NULL OR o.id < %(before_id)s::uuid)
    AND (%(state)s::text IS NULL OR o.state = %(state)s)
ORDER BY o.tenant_id DESC, o.id DESC LIMIT %(limit)s OFFSET %(offset)s
""")
_COUNT = Statement("""
SELECT count(*) FROM (
    SELECT 1 FROM bulk_operations AS o
    WHERE o.tenant_id = %(tenant_id)s AND (%(state)s::text IS NULL OR o.state = %(state)s) LIMIT %(limit)s
) AS counted
""")


def page(
    connection: Connection, *, tenant_id: str, state: BulkState | None, bounds: PageBounds
) -> tuple[list[BulkOperation], int]:
    """Return operations of a tenant, newest first, and their number, exact up to `MAX_IN_TOTAL`."""
    given: dict[str, object] = {"tenant_id": tenant_id, "state": state}
    found = [_operation(row) for row in connection.exec_driver_sql(_PAGE, given | bounds.before("op"))]
    return found, int(connection.exec_driver_sql(_COUNT, given | {"limit": MAX_IN_TOTAL}).scalar_one())


_ABORT = Statement(f"""
UPDATE bulk_operations AS o SET state = 'aborted', completed_at = clock_timestamp()
WHERE o.tenant_id = %(tenant_id)s AND o.id = %(id)s::uuid AND o.state = 'running'
RETURNING {_COLUMNS}
""")


def abort(connection: Connection, *, tenant_id: str, operation_id: str) -> BulkOperation | None:
    """Abort an operation after its current batch. Returns None if it has ended or does not exist."""
    parameters = {"tenant_id": tenant_id, "id": operation_uuid(operation_id)}
    return _ROWS.first(connection.exec_driver_sql(_ABORT, parameters))


#: Condition: the next batch of some operation is due.
IS_DUE = """(SELECT next_at FROM bulk_operations WHERE state = 'running' AND next_at <= now()
    ORDER BY next_at LIMIT 1) IS NOT NULL"""

_LIFTING = Statement(f"""
SELECT DISTINCT c.tenant_id FROM bulk_operations AS o
JOIN containments AS c ON c.tenant_id IN (o.tenant_id, '{ALL_TENANTS}') AND c.id = o.containment_id
WHERE o.state = 'running' AND o.kind = 'lift'
""")


def lifting(connection: Connection) -> list[str]:
    """Return the tenants of lifted containments with an operation that releases or cancels their jobs now."""
    return list(connection.exec_driver_sql(_LIFTING).scalars())


_CLAIM_DUE = Statement(f"""
SELECT {_COLUMNS} FROM bulk_operations AS o WHERE o.state = 'running' AND o.next_at <= clock_timestamp()
ORDER BY o.next_at LIMIT 1 FOR UPDATE SKIP LOCKED
""")


def claim_due(connection: Connection) -> BulkOperation | None:
    """Lock the operation that is overdue the longest. Returns None if none is due, or if all due ones are locked."""
    return _ROWS.first(connection.exec_driver_sql(_CLAIM_DUE))


def _key(operation: BulkOperation) -> dict[str, object]:
    return {"tenant_id": operation.tenant_id, "id": operation_uuid(operation.id)}


_CLAIM = Statement(f"""
SELECT {_COLUMNS} FROM bulk_operations AS o
WHERE o.tenant_id = %(tenant_id)s AND o.id = %(id)s::uuid AND o.state = 'running' FOR UPDATE
""")


def claim(connection: Connection, operation: BulkOperation) -> BulkOperation | None:
    """Lock one operation until the transaction ends. Returns None if it has ended."""
    return _ROWS.first(connection.exec_driver_sql(_CLAIM, _key(operation)))


# `total` may have been capped at the creation, so it grows with the processed jobs.
_MOVE = Statement(f"""
UPDATE bulk_operations AS o SET
    done = o.done + %(done)s, failed = o.failed + %(failed)s, signalled = o.signalled + %(signalled)s,
    total = greatest(o.total, o.done + o.failed + %(done)s + %(failed)s),
    reason = coalesce(%(reason)s, CASE WHEN o.failed > 0 THEN o.reason END),
    before_id = coalesce(%(before_id)s::uuid, o.before_id),
    state = CASE WHEN %(is_done)s THEN 'done' ELSE o.state END,
    completed_at = CASE WHEN %(is_done)s THEN clock_timestamp() END,
    next_at = clock_timestamp() + %(pause)s * interval '1 second'
WHERE o.tenant_id = %(tenant_id)s AND o.id = %(id)s::uuid AND o.state = 'running'
RETURNING {_COLUMNS}
""")


def move(
    connection: Connection,
    operation: BulkOperation,
    *,
    done: int = 0,
    failed: int = 0,
    signalled: int = 0,
    reason: str | None = None,
    before_id: str | None = None,
    is_done: bool = False,
    pause_seconds: float = 0.0,
) -> BulkOperation:
    """Add a batch's counts to an operation that this transaction has locked. Returns the changed operation.

    `before_id` is the last job of the batch.
    """
    parameters = _key(operation) | {
        "done": done,
        "failed": failed,
        "signalled": signalled,
        "reason": reason,
        "before_id": None if before_id is None else rows.job_uuid(before_id),
        "is_done": is_done,
        "pause": pause_seconds,
    }
    return _operation(connection.exec_driver_sql(_MOVE, parameters).one())


_POSTPONE = Statement("""
UPDATE bulk_operations SET next_at = clock_timestamp() + %(seconds)s * interval '1 second'
WHERE tenant_id = %(tenant_id)s AND id = %(id)s::uuid AND state = 'running'
""")


def postpone(connection: Connection, operation: BulkOperation, *, seconds: float) -> None:
    """Defer the next batch of an operation after a failure."""
    connection.exec_driver_sql(_POSTPONE, _key(operation) | {"seconds": seconds})


_ENDED = Statement("""
SELECT o.id::text FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS g (tenant_id, id)
JOIN bulk_operations AS o ON o.tenant_id = g.tenant_id AND o.id = g.id WHERE o.state <> 'running'
""")


def ended(connection: Connection, operations: Collection[tuple[str, str]]) -> set[str]:
    """Return the ids of ended operations among these, given as tenant and id."""
    parameters = {
        "tenants": [tenant_id for tenant_id, _ in operations],
        "ids": [operation_uuid(operation_id) for _, operation_id in operations],
    }
    return {ids.encode("op", uuid) for uuid in connection.exec_driver_sql(_ENDED, parameters).scalars()}


#: Deletes operations that ended before retention.
delete_old = Deletion(
    "bulk_operations", "completed_at < now() - %(retention_days)s * interval '1 day'", order="completed_at"
)
