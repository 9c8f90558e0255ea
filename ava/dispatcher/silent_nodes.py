"""Duty: ask silent nodes through the broker to release their runs, before the nodes count as dead."""

from __future__ import annotations

from collections.abc import Callable

from ava.broker.control import Control
from ava.store.engine.database import Database
from ava.store.jobs import backlog

__all__ = ["SilentNodes"]


class SilentNodes:
    """Asks nodes without a recent heartbeat to release the runs that are about to be rescued.

    A node that is cut off from the database alone runs on, because it cannot distinguish that from an outage for all
    nodes. When it counts as dead, none of its runs may still be running; this request gives it time to stop them.
    """

    name = "silent_nodes"
    changes = "runs asked to be released"
    every_seconds = 1.0

    def __init__(
        self, database: Database, control: Control, *, node_dead_seconds: float, reachable_seconds: Callable[[], float]
    ) -> None:
        self._database = database
        self._control = control
        self._silent_seconds = node_dead_seconds / 2
        self._reachable_seconds = reachable_seconds

    def run_once(self, _now: float) -> int:
        """Ask every node that has been silent for half of the allowed time. Returns the number of runs."""
        if self._reachable_seconds() < self._silent_seconds:
            return 0
        with self._database.connect() as connection:
            silent = backlog.runs_of_silent_nodes(connection, silent_seconds=self._silent_seconds)
        for node_name, runs in silent.items():
            self._control.release_runs(runs=runs, node_name=node_name)
        return sum(map(len, silent.values()))
