"""Duty: the broker holds what can start soon, and PostgreSQL holds the rest."""

from __future__ import annotations

from ava.broker.publisher import Publisher
from ava.errors import BrokerUnavailable
from ava.store.engine.database import Database
from ava.store.jobs import backlog, client_moves
from ava.store.jobs.backlog import Window

__all__ = ["Feed"]

_BATCH = 500


class Feed:
    """Feeds the backlog into the windows, urgent and old first, and closes those that the API must not add to.

    A window is what is out of one queue with one priority. As long as a backlog fills it the API adds nothing to it,
    so that no newer job overtakes the backlog's.
    """

    name = "feed"
    every_seconds = 0.1

    def __init__(self, database: Database, publisher: Publisher, *, window: int) -> None:
        self._database = database
        self._publisher = publisher
        self._window = window

    def run_once(self, _now: float) -> int:
        """Publish what fits; how many."""
        with self._database.connect() as connection:
            found = backlog.windows(connection, most=self._window)
        fed = {window: self._feed(window) for window in found if window.has_backlog}
        # Where the whole backlog found room the window is open again. Until the API has heard so, it adds to a backlog
        # that is soon fed as well; were the window closed for that, jobs that come in steadily would never open it.
        self._close({(w.queue, w.priority) for w in found if w.published + fed.get(w, 0) >= self._window})
        return sum(fed.values())

    def _feed(self, window: Window) -> int:
        """Publish of the backlog what fits; how many."""
        room, fed = self._window - window.published, 0
        while room > 0:
            with self._database.connect() as connection:
                batch = backlog.claim_backlog(
                    connection, queue=window.queue, priority=window.priority, limit=min(room, _BATCH)
                )
            if not batch:
                break
            try:
                self._publisher.publish(batch)
            except BrokerUnavailable:
                with self._database.connect() as connection:
                    client_moves.unpublish(connection, [job.id for job in batch])
                raise
            room -= len(batch)
            fed += len(batch)
        return fed

    def _close(self, closed: set[tuple[str, int]]) -> None:
        # Compared with what is written, for another dispatcher may have been the active one meanwhile.
        with self._database.connect() as connection:
            if backlog.closed_windows(connection) != {f"{queue}:{priority}" for queue, priority in closed}:
                backlog.write_closed_windows(connection, closed)
