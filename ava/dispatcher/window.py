"""Duty: keep the broker's windows full from the backlog, and close those that the API must not add to."""

from __future__ import annotations

from ava.broker.publisher import Publisher
from ava.errors import BrokerUnavailable, QueueRefused
from ava.store.engine.database import Database
from ava.store.fleet import workers
from ava.store.jobs import backlog, client_moves
from ava.store.jobs.backlog import Window

__all__ = ["WindowFeed"]

_BATCH = 500
#: The most jobs of one window that are set aside in one call.
_MOST_SET_ASIDE = 5000


class WindowFeed:
    """Feeds the backlog into the windows by priority and age, and closes windows that are full.

    A window is the published messages of one queue with one priority. The API adds no message to a closed window, so
    that no newer job overtakes the backlog. Jobs whose handler no live node of the queue has are not published but set
    aside, because each of their messages would cost a process and come back.
    """

    name = "feed"
    changes = "jobs published"
    every_seconds = 0.1

    def __init__(self, database: Database, publisher: Publisher, *, window: int, node_dead_seconds: float) -> None:
        self._database = database
        self._publisher = publisher
        self._window = window
        self._node_dead_seconds = node_dead_seconds

    def run_once(self, _now: float) -> int:
        """Publish what the windows have room for. Returns the number of jobs."""
        with self._database.connect() as connection:
            found = backlog.windows(connection, count_up_to=self._window)
        fed = {window: self._feed(window) for window in found if window.has_backlog}
        # A window that took its whole backlog is open again. Until the API reads that, it adds to a backlog that is
        # soon fed as well. If such a window stayed closed, a steady flow of new jobs would never let it open.
        full = {(w.queue, w.priority) for w in found if w.published + fed.get(w, 0) >= self._window}
        # The API need not try a queue that the broker refuses.
        refused = {(w.queue, w.priority) for w in found if self._publisher.is_refused(w.queue)}
        self._close(full | refused)
        return sum(fed.values())

    def _feed(self, window: Window) -> int:
        """Publish jobs of the backlog until the window is full. Returns the number of jobs.

        None is published to a queue that the broker refuses, which the publisher logs and tries again.
        """
        if self._publisher.is_refused(window.queue):
            return 0
        unserved = self._set_aside(window)
        room, fed = self._window - window.published, 0
        while room > 0:
            with self._database.connect() as connection:
                batch = backlog.claim_backlog(
                    connection,
                    queue=window.queue,
                    priority=window.priority,
                    limit=min(room, _BATCH),
                    unserved=unserved,
                )
            if not batch:
                break
            try:
                self._publisher.publish(batch)
            except BrokerUnavailable as error:
                with self._database.connect() as connection:
                    client_moves.unpublish(connection, [job.id for job in batch])
                if isinstance(error, QueueRefused):
                    break
                raise
            room -= len(batch)
            fed += len(batch)
        return fed

    def _set_aside(self, window: Window) -> list[str]:
        """Set aside jobs that no live node can run. Returns their workers."""
        with self._database.connect() as connection:
            unserved = workers.unserved(connection, queue=window.queue, dead_after_seconds=self._node_dead_seconds)
            if unserved:
                backlog.set_aside_unserved(
                    connection,
                    queue=window.queue,
                    priority=window.priority,
                    unserved=unserved,
                    limit=_MOST_SET_ASIDE,
                )
        return unserved

    def _close(self, closed: set[tuple[str, int]]) -> None:
        # Compared with the stored set, because another dispatcher may have been active meanwhile.
        with self._database.connect() as connection:
            if backlog.closed_windows(connection) != {f"{queue}:{priority}" for queue, priority in closed}:
                backlog.write_closed_windows(connection, closed)
