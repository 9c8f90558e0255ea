"""The watchdog: ends a node that makes no progress and cannot recover, so that its supervisor starts a new one.

A process that responds to signals but receives no jobs is worse than none, because its supervisor considers it healthy.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from datetime import datetime

from ava.broker.refused_queues import Refusals
from ava.errors import DatabaseUnavailable
from ava.node.parent import loop_liveness
from ava.node.parent.run_monitor import RunMonitor
from ava.settings import Settings
from ava.store.engine.database import Database
from ava.store.jobs.feed import published

_log = logging.getLogger(__name__)

#: Without the database for longer, a node has no result left to write: a child buffers one for 300 s.
_DATABASE_SECONDS = 360.0
#: The maximum timeout, plus the maximum grace, plus a minute: longer runs end only with this process.
_LONGEST_RUN_SECONDS = 3600 + 600 + 60
_BLOCKED = "its event loop is blocked"
#: A sleep that took this much longer was a freeze of this process.
_FREEZE_SECONDS = 5.0


class Watchdog(threading.Thread):
    """Watches one node's parent, in a thread that waits for no other."""

    def __init__(self, settings: Settings, run_monitor: RunMonitor, queues: list[str], refusals: Refusals) -> None:
        super().__init__(name="ava-watchdog", daemon=True)
        self._deaf_seconds = settings.deaf_seconds
        self._run_monitor = run_monitor
        self._queues = queues
        self._refusals = refusals
        self._database = Database.of(settings, name="watchdog", pool_size=1, statement_seconds=5)
        #: Messages that this node should have received: publication times by job.
        self._missed: dict[str, set[datetime]] = {}
        self._draining_since: float | None = None

    def run(self) -> None:
        while (reason := self.find_reason()) is None or not self._is_drained(reason):
            _pause(min(2.0, self._deaf_seconds / 8))
        _log.critical("Node exits, and its supervisor restarts it: %s", reason)
        self._run_monitor.close(f"the worker exited because {reason}")
        os._exit(os.EX_SOFTWARE)

    def _is_drained(self, reason: str) -> bool:
        """Return True if ending this process would lose no job, or if it has waited long enough for its jobs.

        While the loop is blocked, no message is received, and the children end their runs without it.
        """
        now = time.monotonic()
        if reason != _BLOCKED:
            return True
        if self._draining_since is None:
            _log.error("Node's event loop is blocked: the node exits after its jobs, unless the loop recovers")
            self._draining_since = now
        if now - self._draining_since > _LONGEST_RUN_SECONDS:
            return True
        try:
            with self._database.connect() as connection:
                return not self._run_monitor.has_runs(connection)
        except DatabaseUnavailable:
            return False

    def find_reason(self) -> str | None:
        """Return why this process must end; None if it may continue."""
        if loop_liveness.silent_seconds() > self._deaf_seconds:
            return _BLOCKED
        if self._draining_since is not None:
            _log.warning("Node's event loop runs again: the node continues")
            self._draining_since = None
        if self._run_monitor.unreachable_seconds > _DATABASE_SECONDS:
            return "it has not reached the database for too long"
        try:
            return "it receives no messages, although some are waiting" if self._is_deaf() else None
        except DatabaseUnavailable:
            return None
        except Exception:
            _log.exception("Watchdog: check failed, will retry")
            return None

    def _is_deaf(self) -> bool:
        """Return True if an idle node received neither of two publications of a job, both long enough ago."""
        if self._run_monitor.idle_seconds < self._deaf_seconds / 2 or not self._run_monitor.intake.is_open:
            self._missed.clear()
            return False
        with self._database.connect() as connection:
            # If the broker refuses a queue, another process of this machine would not receive messages either.
            queues = [queue for queue in self._queues if queue not in self._refusals.names()]
            found = published.oldest_messages(connection, queues=queues, after_seconds=self._deaf_seconds / 4)
        self._database.close()
        for job, published_at in found.items():
            self._missed.setdefault(job, set()).add(published_at)
        return any(len(self._missed[job]) > 1 for job in found)


def _pause(seconds: float) -> None:
    """Sleep; twice if this process was frozen in between, so that its other threads can show progress."""
    began = time.monotonic()
    time.sleep(seconds)
    if time.monotonic() - began > seconds + _FREEZE_SECONDS:
        time.sleep(seconds)
