"""The audit trail: written behind the answers, read by tenants."""

from __future__ import annotations

import logging
import threading
from collections import deque

from ava.domain.caller import Caller
from ava.errors import DatabaseUnavailable
from ava.store.engine.database import Database
from ava.store.reports import audit
from ava.store.reports.audit import AuditEntry, AuditFilter, AuditRecord

__all__ = ["Audit"]

_log = logging.getLogger(__name__)

#: Entries that are held while the database is away; beyond, the oldest are lost, and that is said.
_MOST_HELD = 50_000
_BATCH = 1000
_PAUSE_SECONDS = 0.2


class Audit:
    """Writes entries in batches a moment after their answers, so that no answer waits for its entry.

    A process that is killed loses the entries of its last fraction of a second. The records themselves say who
    triggered and who cancelled, durably; the trail adds from where, and what was refused.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: deque[AuditRecord] = deque()
        self._lock = threading.Lock()
        self._is_ending = threading.Event()
        self._thread: threading.Thread | None = None

    def record(self, record: AuditRecord) -> None:
        """Queue a record, which is written within a fraction of a second."""
        self._held.append(record)
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._is_ending.is_set():
                    self._thread = threading.Thread(target=self._write, name="ava-audit", daemon=True)
                    self._thread.start()

    def page(
        self, caller: Caller, audit_filter: AuditFilter, *, limit: int, before_id: str | None
    ) -> tuple[list[AuditEntry], int]:
        """Entries of the caller's tenant, newest first, and how many there are. Raises `DatabaseUnavailable`."""
        self.flush()
        tenant_id = caller.tenant_id
        with self._database.connect() as connection:
            found = audit.page(
                connection, tenant_id=tenant_id, audit_filter=audit_filter, limit=limit, before_id=before_id
            )
            return found, audit.count(connection, tenant_id=tenant_id, audit_filter=audit_filter)

    def close(self) -> None:
        """Write what is held, and end."""
        self._is_ending.set()
        if self._thread is not None:
            self._thread.join(timeout=3)
        try:
            self.flush()
        except DatabaseUnavailable:
            _log.error("Audit entries are lost: the database is out of reach.", extra={"entries": len(self._held)})

    def flush(self) -> None:
        """Write what is held, now. Raises `DatabaseUnavailable`, and holds it then."""
        while self._held:
            batch = [self._held.popleft() for _ in range(min(_BATCH, len(self._held)))]
            try:
                with self._database.connect() as connection:
                    audit.insert(connection, batch)
            except BaseException:
                self._held.extendleft(reversed(batch))
                raise

    def _write(self) -> None:
        while not self._is_ending.wait(_PAUSE_SECONDS):
            try:
                self.flush()
            except DatabaseUnavailable:
                self._bound()
            except Exception:
                _log.exception("Audit entries could not be written.")
                self._held.clear()

    def _bound(self) -> None:
        if (excess := len(self._held) - _MOST_HELD) > 0:
            for _ in range(excess):
                self._held.popleft()
            _log.error("Audit entries are lost: the database is out of reach.", extra={"entries": excess})
