"""The audit trail: written after the responses, read by tenants."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from ava.domain import ids
from ava.domain.access.actor import AuditEntry, AuditRecord
from ava.domain.access.caller import Caller
from ava.domain.counts import PageBounds
from ava.errors import DatabaseUnavailable
from ava.store.engine.database import Database
from ava.store.reports import audit
from ava.store.reports.audit import AuditFilter

_log = logging.getLogger(__name__)

#: Buffered while the database is unreachable; then the oldest are dropped, with an error in the log.
_MAX_BUFFERED_RECORDS = 50_000
_BATCH = 1000
_PAUSE_SECONDS = 0.2
#: Refusals with equal tenant, action and status in this period make one entry.
_SPAN_SECONDS = 60.0
#: Simultaneously counted combinations of tenant, action and status; one tenant has a few hundred.
_MAX_COUNTED_AT_ONCE = 5_000


class Audit:
    """Writes records in batches shortly after the responses, so that no response waits for its record.

    A killed process loses the records of its last fraction of a second. The job durably records who triggered or
    cancelled it; the trail adds the address, and refused requests.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._refusals = RefusalCounts()
        self._buffered: deque[AuditRecord] = deque()
        #: The records that are being written, by their UUIDs: a commit that lost its response is repeated with these.
        self._batch: dict[str, AuditRecord] = {}
        self._lock = threading.Lock()
        #: Locked while a batch is written, so that a page contains every record that was queued before it.
        self._writing = threading.Lock()
        self._is_ending = threading.Event()
        self._thread: threading.Thread | None = None

    def record(self, record: AuditRecord) -> None:
        """Queue a record. Refusals are counted and sampled."""
        if record.status in RefusalCounts.statuses:
            self._buffered.extend(self._refusals.add(record, time.monotonic()))
        else:
            self._buffered.append(record)
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._is_ending.is_set():
                    self._thread = threading.Thread(target=self._write, name="ava-audit", daemon=True)
                    self._thread.start()

    def page(self, caller: Caller, audit_filter: AuditFilter, *, bounds: PageBounds) -> tuple[list[AuditEntry], int]:
        self.flush()
        with self._database.connect() as connection:
            return audit.page(connection, tenant_id=caller.tenant_id, audit_filter=audit_filter, bounds=bounds)

    def close(self) -> None:
        self._is_ending.set()
        self._buffered.extend(self._refusals.all())
        if self._thread is not None:
            self._thread.join(timeout=3)
        try:
            self.flush()
        except DatabaseUnavailable:
            _log.error(
                "Audit: entries dropped, the database is unreachable",
                extra={"entries": len(self._buffered) + len(self._batch)},
            )

    def flush(self) -> None:
        """Write the buffered records; they stay buffered if it raises `DatabaseUnavailable`."""
        with self._writing:
            while self._buffered or self._batch:
                if not self._batch:
                    taken = [self._buffered.popleft() for _ in range(min(_BATCH, len(self._buffered)))]
                    # An id has the time of its record, not of the write, so that a time range is a range of ids.
                    self._batch = {str(ids.new_uuid_at(record.at)): record for record in taken}
                with self._database.connect() as connection:
                    audit.insert(connection, self._batch)
                self._batch = {}

    def _write(self) -> None:
        while not self._is_ending.wait(_PAUSE_SECONDS):
            self._buffered.extend(self._refusals.due(time.monotonic()))
            try:
                self.flush()
            except DatabaseUnavailable:
                self._drop_excess()
            except Exception:
                _log.exception("Audit: entries dropped, they could not be written")
                self._buffered.clear()
                self._batch = {}

    def _drop_excess(self) -> None:
        if (excess := len(self._buffered) - _MAX_BUFFERED_RECORDS) > 0:
            for _ in range(excess):
                self._buffered.popleft()
            _log.error("Audit: entries dropped, the database is unreachable", extra={"entries": excess})


class RefusalCounts:
    """Counts similar refusals: the first is written immediately, the others as one entry per minute."""

    #: Statuses that a caller can cause in any number without a change. After a server error (5xx) the change may have
    #: happened.
    statuses = range(400, 500)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By tenant, action and status: the end of the period, the number counted in it, and the last refusal.
        self._counts: dict[tuple[str, str, int], tuple[float, int, AuditRecord | None]] = {}

    def add(self, refusal: AuditRecord, now: float) -> list[AuditRecord]:
        """Return the entries to write now: the refusal itself, if it is the first in its period."""
        key = (refusal.tenant_id, refusal.action, refusal.status)
        with self._lock:
            if (known := self._counts.get(key)) is not None:
                until, count, _ = known
                self._counts[key] = (until, count + 1, refusal)
                return []
            is_full = len(self._counts) >= _MAX_COUNTED_AT_ONCE
            entries = self._take(lambda _: is_full)
            self._counts[key] = (now + _SPAN_SECONDS, 0, None)
            return [*entries, refusal]

    def due(self, now: float) -> list[AuditRecord]:
        """Return the entries of ended periods: each is the last refusal, with the number of all."""
        if not self._counts:
            return []
        with self._lock:
            return self._take(lambda until: until <= now)

    def all(self) -> list[AuditRecord]:
        return self.due(float("inf"))

    def _take(self, has_ended: Callable[[float], bool]) -> list[AuditRecord]:
        over = [key for key, (until, _, _) in self._counts.items() if has_ended(until)]
        taken = [self._counts.pop(key) for key in over]
        return [replace(last, occurrences=count) for _, count, last in taken if last is not None]
