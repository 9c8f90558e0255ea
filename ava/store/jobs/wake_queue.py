"""The queue of wakes: events that may end waits.

A job that becomes final and may be awaited, a job that begins to wait, and a new event each insert a row in their own
transactions. The duty `wakes` takes rows of all tenants round-robin, jobs and events separately, so no tenant delays
another. Wakes are idempotent: late, duplicate and spurious ones are harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from ava.domain import ids
from ava.store import dead_letters
from ava.store.dead_letters import DeadLetterKind
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

#: Condition: the queue has a wake.
ARE_THERE = "(SELECT n FROM wakes ORDER BY tenant_id, kind, n LIMIT 1) IS NOT NULL"
#: Maximum tenants per batch. Each gets an equal share.
_MAX_TENANTS = 100

# One index descent per tenant, however many wakes it has.
_TENANTS = """RECURSIVE tenants AS (
    (SELECT tenant_id FROM wakes WHERE tenant_id > %(after_tenant)s ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT w.tenant_id FROM wakes AS w WHERE w.tenant_id > t.tenant_id ORDER BY w.tenant_id LIMIT 1)
    FROM tenants AS t WHERE t.tenant_id IS NOT NULL
)"""


def _oldest(kind: str) -> str:
    """Return the CTEs that lock the oldest wakes of the next tenants, in equal shares."""
    return f"""{_TENANTS}, page AS MATERIALIZED (
    SELECT tenant_id FROM tenants WHERE tenant_id IS NOT NULL LIMIT %(max_tenants)s
), oldest AS MATERIALIZED (
    SELECT w.* FROM (SELECT tenant_id, %(limit)s / count(*) OVER () AS share FROM page) AS p CROSS JOIN LATERAL (
        SELECT tenant_id, source_id, event_type, ctid FROM wakes WHERE tenant_id = p.tenant_id AND kind = '{kind}'
        ORDER BY tenant_id, kind, n LIMIT p.share FOR UPDATE SKIP LOCKED
    ) AS w
)"""


# By `ctid`, because a plan made while the queue was empty reads all of it.
_TAKE_JOBS = Statement(f"""
WITH {_oldest("job")}, taken AS (
    DELETE FROM wakes WHERE ctid = ANY(ARRAY(SELECT ctid FROM oldest)) RETURNING tenant_id, source_id
)
SELECT p.tenant_id, t.source_id::text FROM page AS p LEFT JOIN taken AS t ON t.tenant_id = p.tenant_id
ORDER BY p.tenant_id
""")


@dataclass(frozen=True, kw_only=True)
class JobWakes:
    #: Tenant and UUID.
    jobs: Sequence[tuple[str, str]]
    #: The next batch begins after this tenant; empty: with the first.
    last_tenant: str


def take_jobs(connection: Connection, *, after_tenant: str, limit: int) -> JobWakes:
    """Take the oldest job wakes of the next tenants, in the transaction that processes them."""
    found = connection.exec_driver_sql(_TAKE_JOBS, _batch(after_tenant, limit)).all()
    tenants = {tenant_id for tenant_id, _ in found}
    return JobWakes(
        jobs=[(tenant_id, uuid) for tenant_id, uuid in found if uuid is not None],
        last_tenant=max(tenants) if len(tenants) == min(_MAX_TENANTS, limit) else "",
    )


_PUT_BACK = Statement("""
INSERT INTO wakes (tenant_id, kind, source_id)
SELECT tenant_id, 'job', id FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS w (tenant_id, id)
""")


def put_back(connection: Connection, jobs: Sequence[tuple[str, str]]) -> None:
    """Return job wakes that a transaction has taken but does not process."""
    if jobs:
        given = {"tenants": [tenant_id for tenant_id, _ in jobs], "ids": [uuid for _, uuid in jobs]}
        connection.exec_driver_sql(_PUT_BACK, given)


_SET_ASIDE_JOB = Statement(f"""
WITH bad AS (SELECT %(tenant_id)s AS tenant_id, %(id)s::uuid AS row_id, NULL::uuid AS continues_after)
{dead_letters.INSERT}""")


def set_aside_job(connection: Connection, tenant_id: str, uuid: str, error: Exception) -> None:
    """Make a wake that the transaction has taken a dead letter."""
    given = dead_letters.insert_parameters(DeadLetterKind.JOB_WAKE, [uuid], error)
    connection.exec_driver_sql(_SET_ASIDE_JOB, given | {"tenant_id": tenant_id, "id": uuid})


_DROP_UNAWAITED = Statement(f"""
WITH {_oldest("event")}, dropped AS (
    DELETE FROM wakes WHERE ctid = ANY(ARRAY(
        SELECT e.ctid FROM oldest AS e WHERE (
            SELECT true FROM job_journal AS k
            WHERE k.tenant_id = e.tenant_id AND k.value ->> 'type' = e.event_type
                AND k.kind = 'event' AND k.state = 'waits' AND k.event_id IS NULL
            LIMIT 1) IS NULL))
)
SELECT tenant_id FROM page
""")


def drop_unawaited(connection: Connection, *, after_tenant: str, limit: int) -> str:
    """Delete the oldest event wakes of the next tenants if no job waits for the event.

    Returns the last tenant of the batch, or "" to begin with the first.
    """
    tenants = list(connection.exec_driver_sql(_DROP_UNAWAITED, _batch(after_tenant, limit)).scalars())
    return max(tenants) if len(tenants) == _MAX_TENANTS else ""


def _batch(after_tenant: str, limit: int) -> dict[str, object]:
    return {"after_tenant": after_tenant, "limit": limit, "max_tenants": min(_MAX_TENANTS, limit)}


@dataclass(frozen=True, kw_only=True, order=True)
class WaitPosition:
    """A position in the order in which events are matched with waits: key and job."""

    key: UUID
    job_uuid: str

    @classmethod
    def before(cls, key: UUID) -> WaitPosition:
        return cls(key=key, job_uuid=str(UUID(int=0)))


@dataclass(frozen=True, kw_only=True)
class EventWakes:
    """Events of one type of one tenant, to be matched with the waits behind `after`."""

    tenant_id: str
    type: str
    after: WaitPosition
    numbers: Sequence[int]
    event_ids: Sequence[str]


_CLAIM_EVENTS = Statement(f"""
WITH {_TENANTS}, first AS (
    SELECT t.tenant_id FROM tenants AS t
    WHERE (SELECT n FROM wakes AS w WHERE w.tenant_id = t.tenant_id AND w.kind = 'event' LIMIT 1) IS NOT NULL LIMIT 1
), head AS (
    SELECT e.tenant_id, e.n, e.source_id, e.event_type, e.after_key, e.after_id
    FROM wakes AS e, first WHERE e.tenant_id = first.tenant_id AND e.kind = 'event'
    ORDER BY e.tenant_id, e.kind, e.n LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED
)
SELECT h.tenant_id, h.event_type, h.after_key::text, h.after_id::text, array_agg(h.n ORDER BY h.n),
    array_agg(h.source_id::text ORDER BY h.n)
FROM head AS h, (SELECT event_type, after_key, after_id FROM head ORDER BY n LIMIT 1) AS oldest
WHERE h.event_type = oldest.event_type AND h.after_key IS NOT DISTINCT FROM oldest.after_key
    AND h.after_id IS NOT DISTINCT FROM oldest.after_id
GROUP BY h.tenant_id, h.event_type, h.after_key, h.after_id
""")


def claim_events(connection: Connection, *, after_tenant: str, limit: int) -> EventWakes | None:
    """Lock the oldest events, of one type, of the next tenant behind `after_tenant`, until the transaction ends.

    Returns None if no further tenant has events.
    """
    row = connection.exec_driver_sql(_CLAIM_EVENTS, {"after_tenant": after_tenant, "limit": limit}).first()
    if row is None:
        return None
    tenant_id, type_, after_key, after_id, numbers, uuids = row
    return EventWakes(
        tenant_id=tenant_id,
        type=type_,
        after=WaitPosition.before(UUID(int=0))
        if after_key is None
        else WaitPosition(key=UUID(after_key), job_uuid=after_id),
        numbers=numbers,
        event_ids=[ids.encode("evt", uuid) for uuid in uuids],
    )


_SET_ASIDE_EVENTS = Statement(f"""
WITH bad AS (
    DELETE FROM wakes WHERE tenant_id = %(tenant_id)s AND kind = 'event' AND n = ANY(%(numbers)s::bigint[])
    RETURNING tenant_id, source_id AS row_id, NULL::uuid AS continues_after
)
{dead_letters.INSERT}""")


def set_aside_events(connection: Connection, wakes: EventWakes, error: Exception) -> None:
    """Make wakes of events dead letters."""
    uuids = [str(ids.decode("evt", event_id)) for event_id in wakes.event_ids]
    given = dead_letters.insert_parameters(DeadLetterKind.EVENT_WAKE, uuids, error)
    given |= {"tenant_id": wakes.tenant_id, "numbers": list(wakes.numbers)}
    connection.exec_driver_sql(_SET_ASIDE_EVENTS, given)


_DELETE_EVENTS = Statement("""
DELETE FROM wakes AS e WHERE e.tenant_id = %(tenant_id)s AND e.kind = 'event' AND e.n = ANY(%(numbers)s::bigint[])
""")
_ADVANCE_EVENTS = Statement("""
UPDATE wakes AS e SET after_key = %(after_key)s::uuid, after_id = %(after_id)s::uuid
WHERE e.tenant_id = %(tenant_id)s AND e.kind = 'event' AND e.n = ANY(%(numbers)s::bigint[])
""")


def advance_events(connection: Connection, wakes: EventWakes, *, to: WaitPosition | None, count: int) -> None:
    """Store that the first `count` events were matched with the waits up to `to`; None: with all waits."""
    given: dict[str, object] = {"tenant_id": wakes.tenant_id, "numbers": list(wakes.numbers[:count])}
    if to is None:
        connection.exec_driver_sql(_DELETE_EVENTS, given)
    else:
        connection.exec_driver_sql(_ADVANCE_EVENTS, given | {"after_key": str(to.key), "after_id": to.job_uuid})
