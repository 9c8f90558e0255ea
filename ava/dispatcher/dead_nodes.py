"""Duty: what a dead node held is taken back from it."""

from __future__ import annotations

from ava.errors import DatabaseUnavailable
from ava.store import runs
from ava.store.database import Database

__all__ = ["DeadNodes"]

_BATCH = 500


class DeadNodes:
    """Takes runs back from nodes that have been silent for too long.

    After an outage of the database every node has been silent, the living too; so a node is judged only once this
    dispatcher has itself reached the database for as long as a node may be silent.
    """

    name = "dead_nodes"
    every_seconds = 0.5

    def __init__(self, database: Database, *, node_dead_seconds: float) -> None:
        self._database = database
        self._node_dead_seconds = node_dead_seconds
        self._reached_since: float | None = None
        self._last_run = float("-inf")

    def run_once(self, now: float) -> int:
        """Take back what dead nodes hold; how many runs."""
        if now - self._last_run > self._node_dead_seconds:
            # This process itself was asleep, or another was the active one: what it knew is old.
            self._reached_since = None
        self._last_run = now
        try:
            return self._take_back(now)
        except DatabaseUnavailable:
            self._reached_since = None
            raise

    def _take_back(self, now: float) -> int:
        if self._reached_since is None or now - self._reached_since < self._node_dead_seconds:
            self._database.ping()
            self._reached_since = self._reached_since if self._reached_since is not None else now
            return 0
        with self._database.connect() as connection:
            taken = runs.take_back_from_dead_nodes(
                connection,
                dead_after_seconds=self._node_dead_seconds,
                reason="Handler lost: its node is dead",
                error="WorkerLost: the worker node died",
                limit=_BATCH,
            )
        return len(taken)
