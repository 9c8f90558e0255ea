"""Sends the rows of an outbox to the API, each as one job: a thread beside the application, or `ava outbox`."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ava.client.client import Client
from ava.client.errors import (
    ApiConflict,
    ApiForbidden,
    ApiRateLimited,
    ApiRefused,
    ApiUnauthorized,
    ApiUnavailable,
)
from ava.client.outbox.rows import TAG, OutboxRow, OutboxTable

_log = logging.getLogger(__name__)

#: Seconds for which the API's idempotency key is trusted; it holds for 24 hours, of which one is left for clocks.
_KEY_SECONDS = 23 * 3600.0
#: Rows that one look at the table takes, and bytes of those that one request sends.
_ROWS = 100
_BULK_BYTES = 2 * 1024 * 1024
#: Seconds between two looks at an empty table.
_IDLE_SECONDS = 1.0
#: The longest pause, in seconds, after failures of the API, and of one row.
_MAX_PAUSE_SECONDS = 60.0
_MAX_ROW_PAUSE_SECONDS = 3600.0
#: Failures of the API as a whole, after which the other rows wait as well.
_OF_ALL = (ApiUnavailable, ApiRateLimited, ApiUnauthorized, ApiForbidden)
_MAX_ERROR = 500


class Relay:
    """Sends rows in their order, up to 100 a request.

    Several relays of one table may run, because each row's key makes one job, in whichever request it comes.
    """

    def __init__(self, client: Client, table: OutboxTable, *, idle_seconds: float = _IDLE_SECONDS) -> None:
        self._client, self._table = client, table
        self._idle_seconds = idle_seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        #: Rounds in a row that a failure of the API has ended.
        self._failures = 0

    def start(self) -> None:
        """Run in a thread of this process until `stop`."""
        self._thread = threading.Thread(target=self.run, name="ava-outbox", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 10) -> None:
        """Stop after the request at hand, and wait for that."""
        self.request_stop()
        if self._thread is not None:
            self._thread.join(seconds)

    def request_stop(self) -> None:
        """Stop after the request at hand."""
        self._stopping.set()

    def run(self) -> None:
        """Send rows until `stop`. Failures of the API and of the database are logged, and tried again."""
        while not self._stopping.is_set():
            pause = self._idle_seconds
            try:
                if self.run_once(time.time()) == _ROWS:
                    pause = 0.0
                self._failures = 0
            except Exception as error:
                # Whatever is wrong with the database or the API may pass; the rows are kept.
                self._failures += 1
                pause = min(_MAX_PAUSE_SECONDS, 2.0 ** min(self._failures, 6) / 2)
                _log.warning("Outbox not sent, again in %g s: %s", pause, _reason(error))
            self._stopping.wait(pause)

    def run_once(self, now: float) -> int:
        """Send the rows whose time has come, at most 100, at `now` in Unix seconds. Returns how many it looked at.

        Raises `ClientError` if the API cannot be used at all; the rows that are left stay as they are.
        """
        rows = self._table.due(now, _ROWS)
        if not rows:
            return 0
        # Before the first request: a relay that dies after it leaves the time from which the key holds.
        self._table.note_sending([row.id for row in rows if row.first_sent_at is None], now)
        for bulk in _bulks(rows, now):
            if not self._stopping.is_set() and not self._send_together(bulk):
                self._send_each(bulk, now)
        return len(rows)

    def _send_together(self, rows: Sequence[OutboxRow]) -> bool:
        """Send rows in one request. Returns False if they must be sent one by one, which says what is wrong."""
        if len(rows) == 1:
            return False
        try:
            self._client.trigger_many([{**_entry(row), "idempotency_key": row.id} for row in rows])
        except Exception as error:
            _log.info("Outbox sends %d rows one by one: %s", len(rows), _reason(error))
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
            self._put_off(row, None, error)
            return
        try:
            if not self._is_known(row, now):
                self._client.trigger(**entry, idempotency_key=row.id)
        except _OF_ALL as error:
            # Not first in the next round, so that a row which the API never takes does not stop the others.
            self._put_off(row, now + min(_MAX_PAUSE_SECONDS, _seconds(row)), error)
            raise
        except Exception as error:
            is_final = isinstance(error, ApiRefused) or (isinstance(error, ApiConflict) and "dedupe" in entry)
            self._put_off(row, None if is_final else now + min(_MAX_ROW_PAUSE_SECONDS, _seconds(row)), error)
        else:
            self._table.delete([row.id])

    def _is_known(self, row: OutboxRow, now: float) -> bool:
        """Returns True if the row's job exists, of a row whose key may have ended."""
        return (
            _may_have_lost_its_key(row, now)
            and next(iter(self._client.list(tags={TAG: row.id}, per_page=1)), None) is not None
        )

    def _put_off(self, row: OutboxRow, next_at: float | None, error: Exception) -> None:
        text = _reason(error)
        _log.error("Outbox row %s %s: %s", row.id, "is refused" if next_at is None else "waits", text)
        self._table.put_off(row.id, next_at=next_at, error=text)


def _bulks(rows: Sequence[OutboxRow], now: float) -> Iterator[list[OutboxRow]]:
    """Yields rows that are sent together, in their order; a row that has to be looked up comes alone."""
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
    """Returns the trigger of a row, with the tag by which its job is found. Raises an error if it is none."""
    entry = json.loads(row.body)
    return {**entry, "worker_id": entry["worker_id"], "tags": {**(entry.get("tags") or {}), TAG: row.id}}


def _reason(error: Exception) -> str:
    """Returns an error without what SQLAlchemy adds to it: the statement and its values, which hold the row's body."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:_MAX_ERROR]


def _seconds(row: OutboxRow) -> float:
    return float(2.0 ** min(row.attempts, 12))
