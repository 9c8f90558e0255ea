"""Journals of runs over HTTP, which read and write single entries; `ava.store.jobs.journal` has the common part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ava.domain import ids
from ava.domain.access import tokens
from ava.domain.access.tokens import Token
from ava.domain.jobs.job import RunKey, Status
from ava.domain.jobs.waits import ChildState, JournalEntry, JournalKind, LoadedJournal
from ava.domain.limits.table import PAYLOAD_BYTES
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.journal import CHILD_OF_ENTRY, ENTRY_COLUMNS, before_reading, loaded, read_entry
from ava.store.jobs.transitions.rules import ONE_RUN, OWNS


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalSize:
    #: The last entry in write order; 0 without entries.
    n: int
    #: Number of steps and events, and the bytes of their values.
    values: int
    bytes: int


_SIZE = Statement(f"""
SELECT coalesce(max(k.n), 0), count(*) FILTER (WHERE k.kind IN ('step', 'event', 'approval')),
    coalesce(sum(octet_length(k.value::text)) FILTER (WHERE k.kind IN ('step', 'event', 'approval')), 0)::bigint
FROM {ONE_RUN} AS r JOIN jobs AS j ON {OWNS}
LEFT JOIN job_journal AS k ON k.tenant_id = j.tenant_id AND k.job_id = j.id
HAVING count(*) > 0
""")


def begin(connection: Connection, *, run: RunKey, claim_id: str | None, attempt: int) -> JournalSize | None:
    """Adapt the journal to a run as `load` does. Returns its size; None if the run has lost its job."""
    given = rows.run_parameters(run) | {"held_claim_id": claim_id, "attempt": attempt}
    statements = ";".join([*before_reading(attempt), _SIZE])
    row = connection.exec_driver_sql(statements, given).first()
    return None if row is None else JournalSize(n=row[0], values=row[1], bytes=row[2])


_OF_JOB = "k.tenant_id = %(tenant_id)s AND k.job_id = %(id)s::uuid"
_FIND = Statement(f"""
SELECT {ENTRY_COLUMNS} FROM job_journal AS k {CHILD_OF_ENTRY}
WHERE {_OF_JOB} AND k.kind = %(kind)s AND k.name = ANY(%(names)s::text[])
""")


def find(
    connection: Connection, run: RunKey, kind: JournalKind, names: Sequence[str]
) -> dict[str, tuple[JournalEntry, ChildState | None]]:
    """Return the entries of a kind with these names, by name, each with its child."""
    given = rows.run_parameters(run) | {"kind": kind.value, "names": list(names)}
    return {row[1]: read_entry(row) for row in connection.exec_driver_sql(_FIND, given)}


_CHILDREN = Statement(f"""
SELECT {ENTRY_COLUMNS} FROM job_journal AS k {CHILD_OF_ENTRY}
WHERE {_OF_JOB} AND k.kind = 'child' AND k.child_id = ANY(%(ids)s::uuid[])
""")
# Of other received events only the ids, because no two waits receive the same event.
_WAITS = Statement(f"""
SELECT {ENTRY_COLUMNS.replace("k.value::text", "CASE WHEN k.name = ANY(%(names)s::text[]) THEN k.value::text END")}
FROM job_journal AS k {CHILD_OF_ENTRY} AND k.kind = 'child'
WHERE {_OF_JOB} AND (k.kind IN ('wait', 'sleep', 'event', 'approval') AND k.name = ANY(%(names)s::text[])
    OR k.kind = 'event' AND k.event_id IS NOT NULL)
""")


def load_children(connection: Connection, run: RunKey, child_ids: Sequence[str]) -> LoadedJournal:
    """Return the entries of children with these ids."""
    given = rows.run_parameters(run) | {"ids": [rows.job_uuid(id_) for id_ in child_ids]}
    return loaded(connection.exec_driver_sql(_CHILDREN, given).all())


def load_waits(connection: Connection, run: RunKey, names: Sequence[str]) -> LoadedJournal:
    """Return the entries of waits with these names, and all received events, without their values."""
    return loaded(connection.exec_driver_sql(_WAITS, rows.run_parameters(run) | {"names": list(names)}).all())


# `output_bytes` is null for outputs up to `PAYLOAD_BYTES`.
_CHILD_OUTPUTS = Statement(f"""
SELECT j.id::text, j.worker_id, j.status, j.error,
    CASE WHEN j.before < %(max_bytes)s THEN j.output::text END, j.before < %(max_bytes)s
FROM (
    SELECT c.n, j.*, sum(coalesce(j.output_bytes, {PAYLOAD_BYTES.value})) OVER (ORDER BY c.n) - coalesce(
        j.output_bytes, {PAYLOAD_BYTES.value}) AS before
    FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS c (id, n)
    JOIN jobs AS j ON j.tenant_id = %(tenant_id)s AND j.id = c.id AND j.parent_id = %(id)s::uuid
) AS j
ORDER BY j.n
""")


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildOutput:
    id: str
    worker_id: str
    status: Status
    error: str | None
    #: Serialized; None without an output, or beyond the size of the response.
    output_json: str | None
    #: Whether it is within the size of the response.
    fits: bool


def child_outputs(
    connection: Connection, run: RunKey, *, child_ids: Sequence[str], max_bytes: int
) -> list[ChildOutput]:
    """Return children of a run's job with their outputs, in the order of the ids; the first `max_bytes` of outputs."""
    given = rows.run_parameters(run) | {"ids": [rows.job_uuid(id_) for id_ in child_ids], "max_bytes": max_bytes}
    return [
        ChildOutput(
            id=ids.encode("job", uuid),
            worker_id=worker_id,
            status=Status(status),
            error=error,
            output_json=output_json,
            fits=fits,
        )
        for uuid, worker_id, status, error, output_json, fits in connection.exec_driver_sql(_CHILD_OUTPUTS, given)
    ]


_RECORD_SIZE = Statement("""
UPDATE pulled_runs SET journal_n = %(n)s, journal_values = %(values)s, journal_bytes = %(bytes)s
WHERE tenant_id = %(tenant_id)s AND lookup = %(lookup)s
""")


def record_size(connection: Connection, token: Token, *, tenant_id: str, size: JournalSize) -> None:
    """Store the size of a journal with the lease that `renew` has locked."""
    given = {"tenant_id": tenant_id, "lookup": token.lookup, "n": size.n, "values": size.values, "bytes": size.bytes}
    connection.exec_driver_sql(_RECORD_SIZE, given)


_TRIGGERS_OF = Statement("""
SELECT k.triggers FROM pulled_runs AS r JOIN api_keys AS k ON k.id = r.key_id
WHERE r.lookup = %(lookup)s AND r.hash = %(hash)s
""")


def triggers_of(connection: Connection, token: Token) -> frozenset[str]:
    """Return the workers of which a run may create children, by the key that claimed it; `*` stands for all."""
    return frozenset(
        connection.exec_driver_sql(_TRIGGERS_OF, {"lookup": token.lookup, "hash": tokens.hash_of(token)}).scalar() or ()
    )
