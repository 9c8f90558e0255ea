"""Poll the outcomes of the jobs of the mixed load."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import psycopg2

from ava.domain import ids
from chaos.mixed.history import Outcome
from chaos.mixed.programs import WORKERS
from harness.system import System

_PAUSE_SECONDS = 0.3
#: A transaction may commit up to this many seconds after its `completed_at`.
_OVERLAP_SECONDS = 10
_ENDED = """
SELECT id::text, status, error, output ->> 'run', parent_id::text, worker_id, node_losses,
    completed_at::text FROM jobs
WHERE completed_at >= %s::timestamptz - %s * interval '1 second' AND worker_id = ANY(%s) ORDER BY completed_at
"""
_UNFINISHED = "SELECT count(*) FROM jobs WHERE completed_at IS NULL AND worker_id = ANY(%s)"


class Watcher:
    """Polls the database for final jobs."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._newest = "-infinity"
        self.outcomes: dict[str, Outcome] = {}
        #: The jobs of the last `forget`, which the overlap may find again.
        self._forgotten: set[str] = set()
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._keep_polling, daemon=True)
        self._thread.start()

    def unfinished(self) -> int:
        """Return the number of jobs that are not final."""
        return int(self._system.query(_UNFINISHED, list(WORKERS))[0][0])

    def poll_once(self) -> None:
        """Add the jobs that have become final."""
        rows = self._system.query(_ENDED, self._newest, _OVERLAP_SECONDS, list(WORKERS))
        seen_at = time.monotonic()
        for id_, status, error, run, parent, worker_id, node_losses, self._newest in rows:
            parent_id = ids.encode("job", parent) if parent else None
            outcome = Outcome(
                status=status, error=error, run=run, parent_id=parent_id, worker_id=worker_id,
                node_losses=node_losses, seen_at=seen_at,
            )  # fmt: skip
            if (job_id := ids.encode("job", id_)) not in self._forgotten:
                self.outcomes.setdefault(job_id, outcome)

    def forget(self) -> None:
        """Forget the jobs found so far."""
        self._forgotten, self.outcomes = set(self.outcomes), {}

    def stop(self) -> None:
        """Poll no more."""
        self._is_ending.set()
        self._thread.join()

    def _keep_polling(self) -> None:
        while not self._is_ending.wait(_PAUSE_SECONDS):
            # The fault may be in the database itself.
            with suppress(psycopg2.Error):
                self.poll_once()
