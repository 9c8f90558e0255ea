"""The watchdog: ends a node that makes no progress and cannot recover, so that its supervisor starts another.

A process that answers signals and receives no jobs is worse than none, because its supervisor takes it for healthy.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from datetime import datetime

from ava.errors import DatabaseUnavailable
from ava.node.parent import loop_liveness
from ava.node.parent.run_monitor import RunMonitor
from ava.settings import Settings
from ava.store.engine.database import Database
from ava.store.jobs import messages

__all__ = ["Watchdog"]

_log = logging.getLogger(__name__)

#: Seconds without the database after which a node has no result left to write: a child holds one for 300.
_DATABASE_SECONDS = 360.0
#: A sleep that takes so many seconds more than it should was a freeze of this process.
_FREEZE_SECONDS = 5.0


class Watchdog(threading.Thread):
    """Watches one node's parent, in a thread that waits for no other."""

    def __init__(self, settings: Settings, run_monitor: RunMonitor, queues: list[str]) -> None:
        super().__init__(name="ava-watchdog", daemon=True)
        self._deaf_seconds = settings.deaf_seconds
        self._run_monitor = run_monitor
        self._queues = queues
        self._database = Database(settings.database_url, name="watchdog", pool_size=1, statement_seconds=5)
        #: The messages that this node should have received: by job, when each was published.
        self._missed: dict[str, set[datetime]] = {}

    def run(self) -> None:
        """Check again and again, and end the process when there is a reason."""
        while (reason := self.find_reason()) is None:
            _pause(min(2.0, self._deaf_seconds / 8))
        _log.critical("Node ends itself, to be started again: %s", reason)
        self._run_monitor.abandon()
        self._run_monitor.close()
        os._exit(os.EX_SOFTWARE)

    def find_reason(self) -> str | None:
        """Returns why this process must end; None if it goes on."""
        if loop_liveness.silent_seconds() > self._deaf_seconds:
            return "its event loop stands still"
        if self._run_monitor.unreachable_seconds > _DATABASE_SECONDS:
            return "it has not reached the database for too long"
        try:
            return "it receives no messages, though there are some" if self._is_deaf() else None
        except DatabaseUnavailable:
            return None
        except Exception:
            _log.exception("Watchdog: check failed, will retry")
            return None

    def _is_deaf(self) -> bool:
        """Returns True if a job was published twice, long enough ago, and this node was idle and received neither."""
        if self._run_monitor.idle_seconds < self._deaf_seconds / 2:
            self._missed.clear()
            return False
        with self._database.connect() as connection:
            found = messages.oldest_messages(connection, queues=self._queues, after_seconds=self._deaf_seconds / 4)
        self._database.close()
        for job, published_at in found.items():
            self._missed.setdefault(job, set()).add(published_at)
        return any(len(self._missed[job]) > 1 for job in found)


def _pause(seconds: float) -> None:
    """Sleep; twice if this process was frozen meanwhile, so that its other threads show that they go on."""
    began = time.monotonic()
    time.sleep(seconds)
    if time.monotonic() - began > seconds + _FREEZE_SECONDS:
        time.sleep(seconds)
