"""Refused requests in the audit trail: counted and sampled, so that a caller cannot fill the trail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from ava.store.reports.audit import AuditRecord

#: Period in seconds: refusals with equal tenant, action and status in it make one entry.
_SPAN_SECONDS = 60.0
#: Max simultaneously counted combinations of tenant, action and status; one tenant has a few hundred.
_MAX_COUNTED_AT_ONCE = 5_000


class RefusalCounts:
    """Count similar refusals: the first is written immediately, the others as one entry per minute."""

    #: The statuses that a caller can cause in any number without a change. After a server error (5xx) the change may
    #: have happened.
    statuses = range(400, 500)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By tenant, action and status: the end of the period, the number counted in it, and the last refusal.
        self._counts: dict[tuple[str, str, int], tuple[float, int, AuditRecord | None]] = {}

    def add(self, refusal: AuditRecord, now: float) -> list[AuditRecord]:
        """Count a refusal. Return the entries to write now: the refusal itself, if it is the first in its period."""
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
        """End all periods and return their entries."""
        return self.due(float("inf"))

    def _take(self, is_over: Callable[[float], bool]) -> list[AuditRecord]:
        over = [key for key, (until, _, _) in self._counts.items() if is_over(until)]
        taken = [self._counts.pop(key) for key in over]
        return [replace(last, occurrences=count) for _, count, last in taken if last is not None]
