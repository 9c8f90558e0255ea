"""Duty: rescue the runs of dead nodes."""

from __future__ import annotations

from collections.abc import Callable

from ava.store.engine.database import Database
from ava.store.jobs import rescues

__all__ = ["DeadNodes"]

_BATCH = 500


class DeadNodes:
    """Rescues runs of nodes whose last heartbeat is too old.

    After an outage of the database the heartbeats of living nodes are old as well. So no node counts as dead before
    this dispatcher itself has reached the database for as long as a node may be silent.
    """

    name = "dead_nodes"
    changes = "runs rescued"
    every_seconds = 0.5

    def __init__(self, database: Database, *, node_dead_seconds: float, reachable_seconds: Callable[[], float]) -> None:
        """`reachable_seconds` returns for how long the database has been reached without a break."""
        self._database = database
        self._node_dead_seconds = node_dead_seconds
        self._reachable_seconds = reachable_seconds

    def run_once(self, _now: float) -> int:
        """Rescue one batch. Returns the number of runs."""
        if self._reachable_seconds() < self._node_dead_seconds:
            return 0
        with self._database.connect() as connection:
            rescued = rescues.rescue_from_dead_nodes(
                connection,
                dead_after_seconds=self._node_dead_seconds,
                msg="Handler lost: its node is dead",
                error="WorkerLost: the worker node died",
                limit=_BATCH,
            )
        return len(rescued)
