"""Duty: rescue the runs of dead nodes."""

from __future__ import annotations

from ava.dispatcher.duty import Duty
from ava.dispatcher.heartbeats import Heartbeats
from ava.errors import DatabaseUnavailable
from ava.store.engine.database import Database
from ava.store.engine.rest import MAX_REST_SECONDS
from ava.store.jobs.moves import rescue

_RUNS_PER_STATEMENT = 500


class DeadNodes(Duty):
    """Rescues runs of nodes whose heartbeat has not changed for too long."""

    name = "dead_nodes"
    changes = "runs rescued"
    every_seconds = 0.5
    max_rest_seconds = MAX_REST_SECONDS

    def __init__(self, database: Database, heartbeats: Heartbeats, *, node_dead_seconds: float) -> None:
        super().__init__()
        self._database = database
        self._heartbeats = heartbeats
        self._node_dead_seconds = node_dead_seconds

    def run_once(self, now: float) -> int:
        """Rescue one batch. Returns the number of runs."""
        try:
            with self._database.connect() as connection:
                rescued = rescue.rescue_from_dead_nodes(
                    connection,
                    silent=self._heartbeats.silent(now, seconds=self._node_dead_seconds),
                    msg="Handler lost: its node is dead",
                    error="WorkerLost: the worker node died",
                    limit=_RUNS_PER_STATEMENT,
                )
        except DatabaseUnavailable:
            # A database that can be read and not written, such as one on a full disk, takes no heartbeats either.
            self._heartbeats.forget()
            raise
        return len(rescued)
