"""Duty: see that a standby of PostgreSQL was promoted, and whether it lacks what the dispatcher has seen."""

from __future__ import annotations

import logging

from ava.dispatcher.duty import Duty
from ava.store.engine.database import Database
from ava.store.reports import promotions

__all__ = ["Promotions"]

_log = logging.getLogger(__name__)


class Promotions(Duty):
    """Records each timeline of PostgreSQL once.

    It remembers the newest job, because a standby that lacks it was promoted without the last commits. An idle system
    has no such job, so a promotion that is not called lossy may be one.
    """

    name = "promotions"
    changes = "promotions of a standby recorded"
    every_seconds = 1.0

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._timeline: int | None = None
        self._newest_id: str | None = None

    def run_once(self, _now: float) -> int:
        """Record the server's timeline if it is another one. Returns 1 if that is a promotion."""
        with self._database.connect() as connection:
            found = promotions.look(connection, known_id=self._newest_id)
            if found.timeline is None:
                return 0
            running = None
            if found.timeline != self._timeline:
                running = promotions.record(connection, found.timeline, is_lossy=not found.has_known)
        self._timeline, self._newest_id = found.timeline, found.newest_id
        if running is None:
            return 0
        lost = "without the last commits" if not found.has_known else "and no loss was seen"
        fields = {"timeline": found.timeline, "runs": running}
        _log.warning("A standby of PostgreSQL was promoted %s; every run is asked for again", lost, extra=fields)
        return 1
