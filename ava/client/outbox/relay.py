"""Send each row of an outbox to the API as one job, in a thread of the application or in `ava start outbox`."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ava.client.client import Client
from ava.client.errors import ApiConflict, ApiForbidden, ApiRateLimited, ApiRefused, ApiUnauthorized, ApiUnavailable
from ava.client.outbox.rows import TAG, OutboxRow, OutboxTable

_log = logging.getLogger(__name__)

#: Seconds for which the API's idempotency key is trusted: its 24 hours less one for clock differences.
_KEY_SECONDS = 23 * 3600.0
#: Max rows per poll of the table, and max bytes per request.
_ROWS = 100
_BULK_BYTES = 2 * 1024 * 1024
#: Polling interval for an empty table, in seconds.
_IDLE_SECONDS = 1.0
#: Max seconds between attempts after failures of the API, and of one row.
_MAX_PAUSE_SECONDS = 60.0
_MAX_ROW_PAUSE_SECONDS = 3600.0
#: Failures of the whole API, after which other rows wait too.
_OF_ALL = (ApiUnavailable, ApiRateLimited, ApiUnauthorized, ApiForbidden)
_MAX_ERROR = 500


class Relay:
    """Sends rows in order, up to 100 per request.

    Several relays may serve one table, because each row's idempotency key creates one job in whichever request it is
    sent.
    """

    def __init__(self, client: Client, table: OutboxTable, *, idle_seconds: float = _IDLE_SECONDS) -> None:
        self._client, self._table = client, table
        self._idle_seconds = idle_seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        #: Consecutive rounds that an API failure ended.
        self._failures = 0

    def start(self) -> None:
        """Run in a thread of this process until `stop`."""
        self._thread = threading.Thread(target=self.run, name="ava-outbox", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 10) -> None:
        """Stop after the current request, and wait for it."""
        self.request_stop()
        if self._thread is not None:
            self._thread.join(seconds)

    def request_stop(self) -> None:
        """Stop after the current request."""
        self._stopping.set()

    def run(self) -> None:
        """Send rows until `stop`. Failures of the API and the database are logged and retried."""
        while not self._stopping.is_set():
            pause = self._idle_seconds
            try:
                if self.run_once(time.time()) == _ROWS:
                    pause = 0.0
                self._failures = 0
            except Exception as error:
                # Any failure of the database or the API may be transient; the rows are retained.
                self._failures += 1
                pause = min(_MAX_PAUSE_SECONDS, 2.0 ** min(self._failures, 6) / 2)
                _log.warning("Outbox rows not sent, will retry in %g s: %s", pause, _reason(error))
            self._stopping.wait(pause)

    def run_once(self, now: float) -> int:
        """Send at most 100 due rows; `now` is in Unix seconds. Returns how many rows it read.

        Raises `ClientError` if the API is unusable; the remaining rows stay unchanged.
        """
        rows = self._table.due(now, _ROWS)
        if not rows:
            return 0
        # Store the start of the key's validity before the first request, in case the relay dies after it.
        self._table.record_sending([row.id for row in rows if row.first_sent_at is None], now)
        for bulk in _bulks(rows, now):
            if not self._stopping.is_set() and not self._send_together(bulk):
                self._send_each(bulk, now)
        return len(rows)

    def _send_together(self, rows: Sequence[OutboxRow]) -> bool:
        """Send rows in one request. Returns False if they must be sent individually, to find the invalid one."""
        if len(rows) == 1:
            return False
        try:
            self._client.jobs.trigger_many([{**_entry(row), "idempotency_key": row.id} for row in rows])
        except Exception as error:
            _log.info("Outbox sends %d rows individually: %s", len(rows), _reason(error))
            return False
        self._table.delete([row.id for row in rows])
        return True

    def _send_each(self, rows: Sequence[OutboxRow], now: float) -> None:
        for row in rows:
            if self._stopping.is_set():
                break
            self._send(row, now)

    def _send(self, row: OutboxRow, now: float) -> None:
        try:
            entry = _entry(row)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            self._defer(row, None, error)
            return
        try:
            if not self._is_known(row, now):
                self._client.jobs.trigger(**entry, idempotency_key=row.id)
        except _OF_ALL as error:
            # Move it back, so that a row which the API never accepts does not block the others.
            self._defer(row, now + min(_MAX_PAUSE_SECONDS, _seconds(row)), error)
            raise
        except Exception as error:
            is_final = isinstance(error, ApiRefused) or (isinstance(error, ApiConflict) and "dedupe" in entry)
            self._defer(row, None if is_final else now + min(_MAX_ROW_PAUSE_SECONDS, _seconds(row)), error)
        else:
            self._table.delete([row.id])

    def _is_known(self, row: OutboxRow, now: float) -> bool:
        """Return True if the job of a row with a possibly expired key exists."""
        return (
            _may_have_lost_its_key(row, now)
            and next(iter(self._client.jobs.list(tags={TAG: row.id}, per_page=1)), None) is not None
        )

    def _defer(self, row: OutboxRow, next_at: float | None, error: Exception) -> None:
        reason = _reason(error)
        _log.error("Outbox row %s %s: %s", row.id, "is refused" if next_at is None else "waits", reason)
        self._table.record_failure(row.id, next_at=next_at, error=reason)


def _bulks(rows: Sequence[OutboxRow], now: float) -> Iterator[list[OutboxRow]]:
    """Yield rows to send together, in order; a row whose job must be looked up is on its own."""
    bulk: list[OutboxRow] = []
    size = 0
    for row in rows:
        is_apart = _may_have_lost_its_key(row, now)
        if bulk and (is_apart or size + len(row.body) > _BULK_BYTES):
            yield bulk
            bulk, size = [], 0
        if is_apart:
            yield [row]
        else:
            bulk.append(row)
            size += len(row.body)
    if bulk:
        yield bulk


def _may_have_lost_its_key(row: OutboxRow, now: float) -> bool:
    return row.first_sent_at is not None and now - row.first_sent_at >= _KEY_SECONDS


def _entry(row: OutboxRow) -> dict[str, Any]:
    """Return a row's trigger, with the tag that identifies its job. Raises an error if the row is invalid."""
    entry = json.loads(row.body)
    return {**entry, "worker_id": entry["worker_id"], "tags": {**(entry.get("tags") or {}), TAG: row.id}}


def _reason(error: Exception) -> str:
    """Return an error without SQLAlchemy's additions: the statement and its values, which contain the row's body."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:_MAX_ERROR]


def _seconds(row: OutboxRow) -> float:
    return float(2.0 ** min(row.attempts, 12))
