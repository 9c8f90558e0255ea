"""Duty: read the heartbeats of all nodes."""

from __future__ import annotations

from ava.dispatcher.duty import Duty
from ava.dispatcher.heartbeats import Heartbeats
from ava.errors import DatabaseUnavailable
from ava.store.engine.database import Database
from ava.store.fleet import nodes


class HeartbeatWatch(Duty):
    """Reads the heartbeats of all nodes.

    Dispatchers that stand by do it as well, so that the next active one knows at once which nodes are silent.
    """

    name = "heartbeat_watch"
    changes = "heartbeats read"
    every_seconds = 0.5

    def __init__(self, database: Database, heartbeats: Heartbeats) -> None:
        super().__init__()
        self._database = database
        self._heartbeats = heartbeats

    def run_once(self, now: float) -> int:
        """Read the heartbeats once. Returns 0, because nothing changes."""
        try:
            with self._database.connect() as connection:
                seen_at = nodes.read_heartbeats(connection)
        except DatabaseUnavailable:
            self._heartbeats.forget()
            raise
        self._heartbeats.observe(now, seen_at)
        return 0
