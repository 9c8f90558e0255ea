"""Duty: what a dead node held is taken back from it."""

from __future__ import annotations

from collections.abc import Callable

from ava.store.engine.database import Database
from ava.store.jobs import rescues

__all__ = ["DeadNodes"]

_BATCH = 500


class DeadNodes:
    """Takes runs back from nodes that have been silent for too long.

    After an outage of the database every node has been silent, the living too; so a node is judged only once this
    dispatcher has itself reached the database for as long as a node may be silent.
    """

    name = "dead_nodes"
    every_seconds = 0.5

    def __init__(self, database: Database, *, node_dead_seconds: float, reached_seconds: Callable[[], float]) -> None:
        """`reached_seconds` tells for how long the database has been reached without a break."""
        self._database = database
        self._node_dead_seconds = node_dead_seconds
        self._reached_seconds = reached_seconds

    def run_once(self, _now: float) -> int:
        """Take back what dead nodes hold; how many runs."""
        if self._reached_seconds() < self._node_dead_seconds:
            return 0
        with self._database.connect() as connection:
            taken = rescues.rescue_from_dead_nodes(
                connection,
                dead_after_seconds=self._node_dead_seconds,
                reason="Handler lost: its node is dead",
                error="WorkerLost: the worker node died",
                limit=_BATCH,
            )
        return len(taken)
