"""Duty: return jobs to the backlog that were set aside until a node has their handler."""

from __future__ import annotations

from ava.dispatcher.duty import Duty
from ava.store.engine.database import Database
from ava.store.fleet import nodes
from ava.store.jobs import backlog

__all__ = ["ServedAgain"]

_JOBS_PER_STATEMENT = 5000
#: Seconds between two looks if no node has joined. A pool child may set a job aside at the moment when a node joins.
_LONGEST_PAUSE_SECONDS = 30.0


class ServedAgain(Duty):
    """Returns jobs when a node joins that has their handler; `ava.dispatcher.feed.window` sets them aside."""

    name = "served_again"
    changes = "jobs returned to the backlog, because a node has their handler"
    every_seconds = 1.0

    def __init__(self, database: Database, *, node_dead_seconds: float) -> None:
        super().__init__()
        self._database = database
        self._node_dead_seconds = node_dead_seconds
        self._nodes: frozenset[str] = frozenset()
        self._next_at = 0.0

    def run_once(self, now: float) -> int:
        """Return jobs if a node has joined. Returns the number of jobs."""
        with self._database.connect() as connection:
            live = nodes.live(connection, dead_after_seconds=self._node_dead_seconds)
        if live <= self._nodes and now < self._next_at:
            self._nodes = live
            return 0
        returned = self._return()
        self._nodes, self._next_at = live, now + _LONGEST_PAUSE_SECONDS
        return returned

    def _return(self) -> int:
        returned = 0
        while True:
            with self._database.connect() as connection:
                count = backlog.return_served(
                    connection, dead_after_seconds=self._node_dead_seconds, limit=_JOBS_PER_STATEMENT
                )
            returned += count
            if count < _JOBS_PER_STATEMENT:
                return returned
