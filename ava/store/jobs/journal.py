"""Journals of jobs: named results of their handlers. A run reads and writes its job's journal, on a node or over HTTP.

Every statement of a run checks the fencing token and locks the job's row, so a process that was declared dead writes
nothing that the next run has not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ava.domain import ids
from ava.domain.access import tokens
from ava.domain.access.tokens import Token
from ava.domain.events.awaited import AwaitedEvent
from ava.domain.jobs.job import RunKey
from ava.domain.jobs.waits import (
    ChildOutput,
    ChildState,
    EntryState,
    JournalEntry,
    JournalKind,
    LoadedJournal,
    NewEntry,
)
from ava.domain.limits.table import PAYLOAD_BYTES
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.events.events import event_uuid
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import ONE_RUN, OWNS

#: Whether an earlier run of the job `j` has written into its journal. Jobs in their first run skip the lookup.
HAS_JOURNAL = """(j.run_no > 1 AND EXISTS (
    SELECT FROM job_journal AS k WHERE (k.tenant_id, k.job_id) = (j.tenant_id, j.id)))"""


def stores(owner: str) -> str:
    """Return the statement that writes entries into the journals of the jobs in a CTE (`tenant_id`, `id`).

    An entry replaces the entry with the same kind and name, and becomes the last.
    """
    return f"""INSERT INTO job_journal (tenant_id, job_id, kind, name, attempt, state, value, child_id, event_id, until,
        match_key)
    SELECT o.tenant_id, o.id, e.kind, e.name, %(attempt)s::smallint, e.state, e.value::json, e.child_id, e.event_id,
        clock_timestamp() + e.until * interval '1 second', e.match_key
    FROM {owner} AS o CROSS JOIN unnest(
        %(kinds)s::text[], %(names)s::text[], %(states)s::text[], %(values)s::text[], %(children)s::uuid[],
        %(events)s::uuid[], %(untils)s::float8[], %(match_keys)s::uuid[])
        AS e (kind, name, state, value, child_id, event_id, until, match_key)
    ON CONFLICT (tenant_id, job_id, kind, name) DO UPDATE SET attempt = excluded.attempt, state = excluded.state,
        value = excluded.value, child_id = excluded.child_id, event_id = excluded.event_id, until = excluded.until,
        match_key = excluded.match_key, n = DEFAULT, written_at = excluded.written_at"""


def parameters(entries: Sequence[NewEntry], *, attempt: int) -> dict[str, Any]:
    return {
        "attempt": attempt,
        "kinds": [entry.kind.value for entry in entries],
        "names": [entry.name for entry in entries],
        "states": [entry.state.value for entry in entries],
        "values": [entry.value_json for entry in entries],
        "children": [None if entry.child_id is None else rows.job_uuid(entry.child_id) for entry in entries],
        "events": [None if entry.event_id is None else event_uuid(entry.event_id) for entry in entries],
        "untils": [entry.until_in_seconds for entry in entries],
        "match_keys": [_match_key(entry) for entry in entries],
    }


def _match_key(entry: NewEntry) -> str | None:
    if entry.kind is not JournalKind.EVENT or entry.state is not EntryState.WAITS:
        return None
    assert entry.value_json is not None
    return str(AwaitedEvent.read(entry.value_json).key)


_WRITE = Prepared(
    "write_journal",
    f"""
WITH owned AS (
    SELECT j.tenant_id, j.id FROM jobs AS j, {ONE_RUN} AS r WHERE {OWNS} FOR NO KEY UPDATE OF j
), written AS ({stores("owned")})
SELECT 1 FROM owned
""",
)


def write(
    connection: Connection, *, run: RunKey, claim_id: str | None, attempt: int, entries: Sequence[NewEntry]
) -> bool:
    """Write entries of a run. Returns False and writes nothing if the run has lost its job."""
    given = rows.run_parameters(run) | {"held_claim_id": claim_id} | parameters(entries, attempt=attempt)
    return bool(_WRITE.run(connection, given))


# A new attempt retains successful entries and active children, which may still fail. The first run of the attempt that
# loads the journal applies this.
_IS_FORGOTTEN = """(k.kind = 'wait' OR k.state = 'timed_out' OR k.kind = 'sleep' AND k.until > now()
        OR k.kind = 'event' AND k.state = 'waits'
        OR k.kind = 'child' AND NOT EXISTS (
            SELECT FROM jobs AS c WHERE c.tenant_id = k.tenant_id AND c.id = k.child_id
                AND c.status NOT IN ('failed', 'cancelled')))"""
# A separate statement: a statement that waits for a lock sees other tables as they were when it began, and would miss
# writes of this run's earlier attempt that lost its response and committed late.
_LOCK = Statement(f"SELECT FROM jobs AS j, {ONE_RUN} AS r WHERE {OWNS} FOR NO KEY UPDATE OF j")
_CARRY = Statement(f"""
WITH forgotten AS (
    DELETE FROM job_journal AS k USING jobs AS j, {ONE_RUN} AS r
    WHERE {OWNS} AND k.tenant_id = j.tenant_id AND k.job_id = j.id AND k.attempt < %(attempt)s AND {_IS_FORGOTTEN}
)
UPDATE job_journal AS k SET attempt = %(attempt)s FROM jobs AS j, {ONE_RUN} AS r
WHERE {OWNS} AND k.tenant_id = j.tenant_id AND k.job_id = j.id AND k.attempt < %(attempt)s AND NOT {_IS_FORGOTTEN}
""")
_END_SLEEPS = Statement(f"""
UPDATE job_journal AS k SET state = 'done' FROM jobs AS j, {ONE_RUN} AS r
WHERE {OWNS} AND k.tenant_id = j.tenant_id AND k.job_id = j.id AND k.kind = 'sleep' AND k.state = 'waits'
    AND k.until <= clock_timestamp()
""")
_UNTIL = "extract(epoch FROM k.until - clock_timestamp())::float8"
_ENTRIES = RecordRows(JournalEntry, "k", columns={"until_in_seconds": _UNTIL})
CHILDREN = RecordRows(ChildState, "c")
#: The columns that `_read_entry` reads, of an entry `k` and its child `c`.
_COLUMNS = f"{_ENTRIES.columns}, {CHILDREN.columns}"
CHILD_OF_ENTRY = "LEFT JOIN jobs AS c ON c.tenant_id = k.tenant_id AND c.id = k.child_id"
# Returns at least one row while the run owns its job.
_LOAD = Statement(f"""
SELECT {_COLUMNS}
FROM {ONE_RUN} AS r JOIN jobs AS j ON {OWNS}
LEFT JOIN job_journal AS k ON k.tenant_id = j.tenant_id AND k.job_id = j.id
{CHILD_OF_ENTRY} AND k.kind = 'child'
ORDER BY k.n
""")


def before_reading(attempt: int) -> list[str]:
    """Return the statements that adapt a journal to the time and to a run's attempt."""
    return [_LOCK, *([_CARRY] if attempt > 1 else []), _END_SLEEPS]


def load(connection: Connection, *, run: RunKey, claim_id: str | None, attempt: int) -> LoadedJournal | None:
    """Return the journal of a run's job; None if the run has lost its job.

    The first run of a new attempt deletes entries that it must redo: failed or cancelled children, and waits. A sleep
    that has passed becomes `done`.
    """
    given = rows.run_parameters(run) | {"held_claim_id": claim_id, "attempt": attempt}
    # One message to the server, and so one transaction.
    statements = ";".join([*before_reading(attempt), _LOAD])
    found = connection.exec_driver_sql(statements, given).all()
    return loaded(found) if found else None


def loaded(found: Sequence[Any]) -> LoadedJournal:
    """Return the entries of rows with `_COLUMNS`, and the states of their children."""
    entries: list[JournalEntry] = []
    children: dict[str, ChildState] = {}
    for row in found:
        if row[0] is None:
            continue
        entry, child = _read_entry(row)
        entries.append(entry)
        if child is not None:
            children[child.id] = child
    return LoadedJournal(entries=entries, children=children)


def _read_entry(row: Any) -> tuple[JournalEntry, ChildState | None]:
    return _ENTRIES.read(row), read_child(row[_ENTRIES.count :])


def read_child(row: Sequence[Any]) -> ChildState | None:
    """Return the state of the child of an entry; None if it has none or the child was deleted."""
    return None if row[0] is None else CHILDREN.read(row)


_STATES = Statement(f"""
SELECT {CHILDREN.columns}
FROM unnest(%(ids)s::uuid[]) AS g (id) JOIN jobs AS c ON c.tenant_id = %(tenant_id)s AND c.id = g.id
""")


def states(connection: Connection, *, tenant_id: str, job_ids: Sequence[str]) -> dict[str, ChildState]:
    given = {"tenant_id": tenant_id, "ids": [rows.job_uuid(job_id) for job_id in job_ids]}
    found = [CHILDREN.read(row) for row in connection.exec_driver_sql(_STATES, given)]
    return {state.id: state for state in found}


_OUTPUTS = Statement("""
SELECT j.id::text, j.output::text
FROM unnest(%(ids)s::uuid[]) AS c (id) JOIN jobs AS j ON j.tenant_id = %(tenant_id)s AND j.id = c.id
""")


def outputs(connection: Connection, *, tenant_id: str, job_ids: Sequence[str]) -> Mapping[str, str | None]:
    """Return the outputs of jobs as JSON, by id."""
    given = {"tenant_id": tenant_id, "ids": [rows.job_uuid(job_id) for job_id in job_ids]}
    return {ids.encode("job", uuid): output_json for uuid, output_json in connection.exec_driver_sql(_OUTPUTS, given)}


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
SELECT {_COLUMNS} FROM job_journal AS k {CHILD_OF_ENTRY}
WHERE {_OF_JOB} AND k.kind = %(kind)s AND k.name = ANY(%(names)s::text[])
""")


def find(
    connection: Connection, run: RunKey, kind: JournalKind, names: Sequence[str]
) -> dict[str, tuple[JournalEntry, ChildState | None]]:
    """Return the entries of a kind with these names, by name, each with its child."""
    given = rows.run_parameters(run) | {"kind": kind.value, "names": list(names)}
    return {row[1]: _read_entry(row) for row in connection.exec_driver_sql(_FIND, given)}


_CHILDREN = Statement(f"""
SELECT {_COLUMNS} FROM job_journal AS k {CHILD_OF_ENTRY}
WHERE {_OF_JOB} AND k.kind = 'child' AND k.child_id = ANY(%(ids)s::uuid[])
""")
# Of other received events only the ids, because no two waits receive the same event.
_WAITS = Statement(f"""
SELECT {_ENTRIES.select(value_json="CASE WHEN k.name = ANY(%(names)s::text[]) THEN k.value::text END")},
    {CHILDREN.columns}
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


_FITS = "j.before < %(max_bytes)s"
_OUTPUT_ROWS = RecordRows(
    ChildOutput,
    "j",
    columns={"output_json": f"CASE WHEN {_FITS} THEN j.output::text END", "fits": _FITS},
    without=("end_no",),
)
# `output_bytes` is null for outputs up to `PAYLOAD_BYTES`.
_CHILD_OUTPUTS = Statement(f"""
SELECT {_OUTPUT_ROWS.columns}
FROM (
    SELECT c.n, j.*, sum(coalesce(j.output_bytes, {PAYLOAD_BYTES.value})) OVER (ORDER BY c.n) - coalesce(
        j.output_bytes, {PAYLOAD_BYTES.value}) AS before
    FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS c (id, n)
    JOIN jobs AS j ON j.tenant_id = %(tenant_id)s AND j.id = c.id AND j.parent_id = %(id)s::uuid
) AS j
ORDER BY j.n
""")


def child_outputs(
    connection: Connection, run: RunKey, *, child_ids: Sequence[str], max_bytes: int
) -> list[ChildOutput]:
    """Return children of a run's job with their outputs, in the order of the ids; the first `max_bytes` of outputs."""
    given = rows.run_parameters(run) | {"ids": [rows.job_uuid(id_) for id_ in child_ids], "max_bytes": max_bytes}
    return [_OUTPUT_ROWS.read(row) for row in connection.exec_driver_sql(_CHILD_OUTPUTS, given)]


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
    """Return the workers that a run's children may have, by the key that claimed it; `*` stands for all."""
    return frozenset(
        connection.exec_driver_sql(_TRIGGERS_OF, {"lookup": token.lookup, "hash": tokens.hash_of(token)}).scalar() or ()
    )
