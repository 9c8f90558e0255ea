"""Duty: ask silent nodes through the broker to release their runs, before the nodes count as dead."""

from __future__ import annotations

from ava.broker.control import Control
from ava.dispatcher.duty import Duty
from ava.dispatcher.heartbeats import Heartbeats
from ava.store.engine.database import Database
from ava.store.jobs.moves import rescue


class SilentNodes(Duty):
    """Asks nodes whose heartbeat has not changed for a while to release the runs that are about to be rescued.

    A node that is cut off from the database alone runs on, because it cannot distinguish that from an outage for all
    nodes. When it counts as dead, none of its runs may still be running; this request gives it time to stop them.
    """

    name = "silent_nodes"
    changes = "runs asked to be released"
    every_seconds = 1.0

    def __init__(
        self, database: Database, control: Control, heartbeats: Heartbeats, *, node_dead_seconds: float
    ) -> None:
        super().__init__()
        self._database = database
        self._control = control
        self._heartbeats = heartbeats
        self._silent_seconds = node_dead_seconds / 2

    def run_once(self, now: float) -> int:
        """Ask every node that has been silent for half of the allowed time. Returns the number of runs."""
        if not (node_ids := self._heartbeats.silent(now, seconds=self._silent_seconds)):
            return 0
        with self._database.connect() as connection:
            silent = rescue.runs_of_nodes(connection, node_ids)
        for node_name, runs in silent.items():
            self._control.release_runs(runs=runs, node_name=node_name)
        return sum(map(len, silent.values()))
