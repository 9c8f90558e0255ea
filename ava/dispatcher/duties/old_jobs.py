"""Final jobs past the retention of their worker, tenant or installation, in passes over those that may be."""

from __future__ import annotations

import time

from ava.store.engine.database import Connection
from ava.store.jobs import old_jobs
from ava.store.jobs.old_jobs import FIRST_POSITION, Position

#: Seconds from the end of a pass to the next, where jobs are kept for different times: a pass looks at each job that is
#: past the shortest of them.
_PAUSE_SECONDS = 600.0


class OldJobs:
    """Looks at the jobs past the shortest retention, the oldest first, and deletes those past their own.

    If all have the same retention, each job that it looks at is deleted.
    """

    def __init__(self, *, retention_days: float) -> None:
        """`retention_days`: of the jobs whose worker and tenant have none of their own."""
        self.is_at_end = True
        self._retention_days = retention_days
        self._position: Position = FIRST_POSITION
        self._next_pass = float("-inf")

    def delete(self, connection: Connection, limit: int) -> int:
        """Delete at most `limit` log lines, and at most `limit` jobs without lines. Returns the number of both."""
        self.is_at_end = True
        if time.monotonic() < self._next_pass:
            return 0
        kept = old_jobs.days_kept(connection, default=self._retention_days)
        looked = old_jobs.look(connection, kept, after=self._position, limit=limit)
        lines = old_jobs.delete_lines(connection, looked, limit=limit)
        count = lines + old_jobs.delete(connection, looked)
        if lines >= limit:
            # Some of the jobs may have more lines, so the next batch looks at them again.
            self.is_at_end = False
        elif looked.count >= limit:
            self.is_at_end = False
            self._position = looked.position
        else:
            self._position = FIRST_POSITION
            if kept.shortest < kept.longest:
                self._next_pass = time.monotonic() + _PAUSE_SECONDS
        return count
