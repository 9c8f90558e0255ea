"""After a long freeze, check that a process's run still owns its job before the handler continues."""

from __future__ import annotations

import time
from collections.abc import Callable

from ava.errors import DatabaseUnavailable
from ava.node.runs.run import Run

#: Seconds between attempts while the database is unreachable.
PAUSE_SECONDS = 0.1
#: Nanoseconds between claim and handler after which a process checks ownership; a node counts as dead much later.
_MAX_UNCHECKED_NS = 1_000_000_000


def needs_check(run: Run) -> bool:
    # Less than 0: the clock was set back.
    return not 0 <= time.time_ns() - run.claim_sent_ns <= _MAX_UNCHECKED_NS and run.stopped_for is None


class OwnershipCheck:
    """Blocks the handler until the database confirms that its run owns the job."""

    def __init__(self) -> None:
        #: How often this process was continued, and whether a check is running.
        self._count = 0
        self._is_asking = False

    def ask(self, run: Run | None, owns_job: Callable[[Run], bool]) -> None:
        """Check until the database responds. The SIGCONT handler calls it and so blocks the main thread.

        A stop of the run interrupts the wait.
        """
        self._count += 1
        if run is None or not run.is_open or self._is_asking:
            return
        self._is_asking = True
        try:
            while run.stopped_for is None and not self.is_answered(run, owns_job):
                time.sleep(PAUSE_SECONDS)
        finally:
            self._is_asking = False

    def ask_if_needed(self, run: Run, may_begin: Callable[[Run], bool]) -> None:
        """Check before a handler starts long after its claim was sent. Called in the main thread.

        The process may have been frozen since. Its node may count as dead, another node may have run the job, or a
        containment may have begun.
        """
        while needs_check(run):
            if self.is_answered(run, may_begin):
                return
            time.sleep(PAUSE_SECONDS)

    def is_answered(self, run: Run, may_continue: Callable[[Run], bool]) -> bool:
        """Ask once. Returns False if there is no valid response."""
        count = self._count
        try:
            if not may_continue(run):
                run.stop_as_lost()
        except DatabaseUnavailable:
            return False
        # A response from before another freeze does not count.
        return count == self._count
