"""Isolate rows that cannot be processed: halve failed batches, and keep bad rows as dead letters for an operator.

A batch has rows of several tenants in one transaction, so a bad row would stop all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from ava.domain import ids
from ava.errors import DatabaseUnavailable
from ava.store.engine.database import Connection
from ava.store.engine.failures import describe_failure
from ava.store.engine.statement import Statement

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_Failed = TypeVar("_Failed")


class DeadLetterKind(StrEnum):
    """The work that failed for a row."""

    #: Create the deliveries of a webhook event.
    WEBHOOK_EVENT = "webhook_event"
    #: Create the remaining jobs of an event.
    EVENT_JOBS = "event_jobs"
    #: Match an event with the jobs that wait for it.
    EVENT_WAKE = "event_wake"
    #: End the waits for a job.
    JOB_WAKE = "job_wake"


class HalvedBatch:
    """The maximum rows of a batch. It is halved after a failure, until the bad row is alone, and doubled after a
    success.
    """

    def __init__(self, name: str, max_rows: int) -> None:
        self.size = max_rows
        self._name = name
        self._max_rows = max_rows

    def run(
        self, process: Callable[[], _T], *, set_aside: Callable[[Exception], object], failed: _Failed
    ) -> _T | _Failed:
        """Process a batch of at most `size` rows. Sets a row aside that fails alone. Returns `failed` after a failure.

        Raises `DatabaseUnavailable`, for which no row is to blame.
        """
        try:
            result = process()
        except DatabaseUnavailable:
            raise
        except Exception as error:
            if not self.halve(self.size, error):
                set_aside(error)
            return failed
        self.grow()
        return result

    def halve(self, rows: int, error: Exception) -> bool:
        """Halve the next batch after a batch of `rows` has failed. Returns False if its row was alone."""
        if rows <= 1:
            return False
        self.size = rows // 2
        reason = describe_failure(error)
        _log.warning("%s: a batch of up to %d rows failed, will retry with half of them: %s", self._name, rows, reason)
        return True

    def grow(self) -> None:
        self.size = min(2 * self.size, self._max_rows)


#: Inserts rows of the CTE `bad` (tenant_id, row_id, continues_after) with the parameters `kind` and `error`.
INSERT = """
INSERT INTO dead_letters (kind, tenant_id, row_id, continues_after, error)
SELECT DISTINCT %(kind)s, tenant_id, row_id, continues_after, %(error)s FROM bad
ON CONFLICT (tenant_id, kind, row_id) DO UPDATE SET error = excluded.error, failed_at = now()
"""


def insert_parameters(kind: DeadLetterKind, uuids: list[str], error: Exception) -> dict[str, object]:
    """Return the parameters of a statement with `INSERT`, and log the rows."""
    reason = describe_failure(error)
    for uuid in uuids:
        _log.error("%s of %s failed and is a dead letter now: %s", kind, _id(kind, uuid), reason)
    return {"kind": kind.value, "error": reason}


def _id(kind: str, uuid: str) -> str:
    return ids.encode("job" if kind == DeadLetterKind.JOB_WAKE else "evt", uuid)


#: Max rows in a report.
_MAX_SHOWN = 5
#: Max rows returned by one statement.
_MAX_RETRIED = 1_000


@dataclass(frozen=True, kw_only=True)
class DeadLetters:
    count: int
    #: The newest: kind, id, tenant, and error.
    newest: list[tuple[str, str, str, str]]


_COUNT = Statement("SELECT count(*) FROM dead_letters")


def count(connection: Connection) -> int:
    return int(connection.exec_driver_sql(_COUNT).scalar_one())


_NEWEST = Statement("""
SELECT kind, row_id::text, tenant_id, error FROM dead_letters ORDER BY failed_at DESC, row_id LIMIT %(limit)s
""")


def find(connection: Connection) -> DeadLetters:
    """Return the number of dead letters and the newest ones."""
    found = connection.exec_driver_sql(_NEWEST, {"limit": _MAX_SHOWN})
    newest = [(kind, _id(kind, uuid), tenant_id, error) for kind, uuid, tenant_id, error in found]
    return DeadLetters(count=count(connection), newest=newest)


_RETRY = Statement("""
WITH returned AS (
    DELETE FROM dead_letters WHERE (tenant_id, kind, row_id) IN (
        SELECT tenant_id, kind, row_id FROM dead_letters ORDER BY failed_at, row_id LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED)
    RETURNING tenant_id, kind, row_id, continues_after
), webhooks AS (
    UPDATE webhook_events SET fanned_out_at = NULL
    WHERE id = ANY(ARRAY(SELECT row_id FROM returned WHERE kind = 'webhook_event'))
), unfinished AS (
    UPDATE events AS e SET fanned_out_to = r.continues_after FROM returned AS r
    WHERE r.kind = 'event_jobs' AND e.tenant_id = r.tenant_id AND e.id = r.row_id
), woken AS (
    INSERT INTO wakes (tenant_id, kind, source_id, event_type)
    SELECT tenant_id, 'job', row_id, NULL FROM returned WHERE kind = 'job_wake'
    UNION ALL
    SELECT r.tenant_id, 'event', r.row_id, e.type FROM returned AS r
    JOIN events AS e ON e.tenant_id = r.tenant_id AND e.id = r.row_id WHERE r.kind = 'event_wake'
)
SELECT count(*) FROM returned
""")


def retry(connection: Connection) -> int:
    """Return the oldest dead letters to their queues. Returns their number; 0 if none are left."""
    return int(connection.exec_driver_sql(_RETRY, {"limit": _MAX_RETRIED}).scalar_one())


_DELETE_OLD = Statement("""
DELETE FROM dead_letters WHERE row_id < %(before)s::uuid AND (kind = 'webhook_event' OR failed_at < %(oldest)s)
""")


def delete_old(connection: Connection, *, before: UUID, oldest: datetime) -> None:
    """Delete the dead letters of webhook events with ids below `before`, and others that failed before `oldest`."""
    connection.exec_driver_sql(_DELETE_OLD, {"before": str(before), "oldest": oldest})
