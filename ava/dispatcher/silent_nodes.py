"""Duty: a node that the database no longer hears is told through the broker to let go, before it is taken for dead."""

from __future__ import annotations

from collections.abc import Callable

from ava.broker.control import Control
from ava.store.engine.database import Database
from ava.store.jobs import backlog

__all__ = ["SilentNodes"]


class SilentNodes:
    """Tells silent nodes which of their runs others are about to be given.

    One that is cut off from the database alone runs on, for it cannot tell that from an outage for all. When it is
    taken for dead, nothing of it may run any more: it hears so here, while there is time to let go.
    """

    name = "silent_nodes"
    every_seconds = 1.0

    def __init__(
        self, database: Database, control: Control, *, node_dead_seconds: float, reached_seconds: Callable[[], float]
    ) -> None:
        self._database = database
        self._control = control
        self._silent_seconds = node_dead_seconds / 2
        self._reached_seconds = reached_seconds

    def run_once(self, _now: float) -> int:
        """Tell every node that has been silent for half of what it may be; how many runs it was about."""
        if self._reached_seconds() < self._silent_seconds:
            return 0
        with self._database.connect() as connection:
            silent = backlog.silent_runs(connection, silent_seconds=self._silent_seconds)
        for node_name, runs in silent.items():
            self._control.release_runs(runs=runs, node_name=node_name)
        return sum(map(len, silent.values()))
