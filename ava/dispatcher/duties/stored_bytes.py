"""Duty: sum what each tenant stores, page by page, for the limit on it."""

from __future__ import annotations

import time
from collections import Counter

from ava.dispatcher.duty import Duty
from ava.store.engine.database import Database
from ava.store.reports import storage

#: Rows of one page.
_PAGE_ROWS = 5_000
#: Seconds in which one call reads pages.
_CALL_SECONDS = 0.25
#: Seconds from the end of a pass to the beginning of the next.
_PAUSE_SECONDS = 10.0
#: Tenants that one statement writes.
_TENANTS_PER_STATEMENT = 1_000


class StoredBytes(Duty):
    """Passes over all jobs, log lines, events and deliveries, a part of them in each call.

    The sums are written when a pass is complete. Another dispatcher that takes over begins a pass of its own.
    """

    name = "stored_bytes"
    changes = "tenants measured"
    every_seconds = 1.0

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._next_pass = float("-inf")
        self._begin()

    def _begin(self) -> None:
        self._sums: Counter[str] = Counter()
        self._kinds = list(storage.KINDS)
        self._place: storage.Place | None = None

    def run_once(self, now: float) -> int:
        """Read pages for a part of a second. Returns the number of tenants, if that completes a pass."""
        if now < self._next_pass:
            return 0
        ends = time.monotonic() + _CALL_SECONDS
        while self._kinds:
            self._read_page()
            if time.monotonic() > ends:
                break
        if self._kinds:
            return 0
        with self._database.transaction() as connection:
            storage.save(connection, self._sums, batch=_TENANTS_PER_STATEMENT)
        count = len(self._sums)
        self._begin()
        self._next_pass = now + _PAUSE_SECONDS
        return count

    def _read_page(self) -> None:
        with self._database.connect() as connection:
            page = storage.read_page(connection, self._kinds[0], self._place, limit=_PAGE_ROWS)
        self._sums.update(page.sums)
        self._place = page.place
        if page.place is None:
            del self._kinds[0]
