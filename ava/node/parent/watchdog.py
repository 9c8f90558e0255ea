"""Ends a node that can do nothing any more and cannot mend it, so that its supervisor starts another.

Liveness is progress: a process that answers signals and hears no jobs is worse than none.
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

#: Seconds without the database after which what this node still holds is lost anyway: results are held for 300.
_DATABASE_SECONDS = 360.0


class Watchdog(threading.Thread):
    """Looks after one node's parent, in a thread of its own that waits for nobody else's."""

    def __init__(self, settings: Settings, run_monitor: RunMonitor, queues: list[str]) -> None:
        super().__init__(name="ava-watchdog", daemon=True)
        self._deaf_seconds = settings.deaf_seconds
        self._run_monitor = run_monitor
        self._queues = queues
        self._database = Database(settings.database_url, name="watchdog", pool_size=1, statement_seconds=5)
        #: The messages that this node should have heard, by their jobs, and when each was published.
        self._unheard: dict[str, set[datetime]] = {}

    def run(self) -> None:
        """Look again and again, and end the process when it must be."""
        while (reason := self.find()) is None:
            time.sleep(min(2.0, self._deaf_seconds / 8))
        _log.critical("This node ends itself, to be started again: %s.", reason)
        self._run_monitor.abandon()
        self._run_monitor.close()
        os._exit(os.EX_SOFTWARE)

    def find(self) -> str | None:
        """Why this process must end; None where it need not."""
        if loop_liveness.silent_seconds() > self._deaf_seconds:
            return "its event loop stands still"
        if self._run_monitor.unreachable_seconds > _DATABASE_SECONDS:
            return "it has not reached the database for too long"
        try:
            return "it hears no messages, though there are some" if self._is_deaf() else None
        except DatabaseUnavailable:
            return None
        except Exception:
            _log.exception("The watchdog of this node failed once.")
            return None

    def _is_deaf(self) -> bool:
        """Whether a job's message was sent twice, long enough ago, while this node was idle and heard neither."""
        if self._run_monitor.idle_seconds < self._deaf_seconds / 2:
            self._unheard.clear()
            return False
        with self._database.connect() as connection:
            found = messages.oldest_messages(connection, queues=self._queues, after_seconds=self._deaf_seconds / 4)
        self._database.close()
        for job, published_at in found.items():
            self._unheard.setdefault(job, set()).add(published_at)
        return any(len(self._unheard[job]) > 1 for job in found)
