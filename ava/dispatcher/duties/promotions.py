"""Duty: see that a standby of PostgreSQL was promoted, and whether it lacks what the dispatcher has seen."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence

from ava.dispatcher.duty import Duty
from ava.store.engine.database import Database
from ava.store.reports import promotions

_log = logging.getLogger(__name__)


class Promotions(Duty):
    """Records each timeline of PostgreSQL once, and whether commits were lost with the server of before.

    Every dispatcher runs it, because another one may become active by the promotion. Each remembers the newest job that
    it has seen, so one that misses its job corrects what another has recorded. An idle system has no such job, so a
    promotion that is not called lossy may be one.
    """

    name = "promotions"
    changes = "promotions of a standby recorded"
    every_seconds = 1.0

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._server: Hashable = None
        self._newest: Sequence[str] | None = None

    def run_once(self, _now: float) -> int:
        """Record the server's timeline if another server answers. Returns 1 if that is a promotion, or a loss.

        On the same server a job that is missing was deleted by retention.
        """
        with self._database.connect() as connection:
            found = promotions.look(connection, known=self._newest)
            if found.timeline is None:
                return 0
            is_another = found.server != self._server
            is_lossy = is_another and not found.has_known
            running = promotions.record(connection, found.timeline, is_lossy=is_lossy) if is_another else None
        if is_another and self._server is not None:
            self.on_change()
        self._server, self._newest = found.server, found.newest
        if running is None:
            return 0
        lost = "without the last commits" if is_lossy else "and no loss was seen"
        fields = {"timeline": found.timeline, "runs": running}
        _log.warning("A standby of PostgreSQL was promoted %s; every run is asked for again", lost, extra=fields)
        return 1
