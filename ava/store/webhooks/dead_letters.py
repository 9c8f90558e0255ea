"""Dead letters: events that failed to fan out. Count them, and return them to the fan-out."""

from __future__ import annotations

from dataclasses import dataclass

from ava.domain import ids
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

#: Max events in a report.
_MAX_SHOWN = 5
#: Max events returned by one statement.
_MAX_RETRIED = 1_000


@dataclass(frozen=True, kw_only=True)
class DeadLetters:
    count: int
    #: The newest: event id, tenant, and error.
    newest: list[tuple[str, str, str]]


_COUNT = Statement("SELECT count(*) FROM webhook_dead_letters")


def count(connection: Connection) -> int:
    return int(connection.exec_driver_sql(_COUNT).scalar_one())


_NEWEST = Statement("""
SELECT event_id::text, tenant_id, error FROM webhook_dead_letters ORDER BY failed_at DESC, event_id LIMIT %(limit)s
""")


def find(connection: Connection) -> DeadLetters:
    """Return the number of dead letters and the newest ones."""
    found = connection.exec_driver_sql(_NEWEST, {"limit": _MAX_SHOWN})
    newest = [(ids.encode("evt", uuid), tenant_id, error) for uuid, tenant_id, error in found]
    return DeadLetters(count=count(connection), newest=newest)


_RETRY = Statement("""
WITH returned AS (
    DELETE FROM webhook_dead_letters WHERE (tenant_id, event_id) IN (
        SELECT tenant_id, event_id FROM webhook_dead_letters ORDER BY failed_at, event_id LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED)
    RETURNING event_id
)
UPDATE webhook_events SET fanned_out_at = NULL WHERE id = ANY(ARRAY(SELECT event_id FROM returned))
""")


def retry(connection: Connection) -> int:
    """Return the oldest dead letters to the fan-out. Returns their number; 0 if none are left."""
    return connection.exec_driver_sql(_RETRY, {"limit": _MAX_RETRIED}).rowcount
