"""What a process does that had no processor for long: it asks whether its run still holds its job before it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

from ava.errors import DatabaseUnavailable
from ava.node.child.run import Run

#: Seconds between two questions while the database is away.
PAUSE_SECONDS = 0.1
#: Nanoseconds from a claim to its handler after which a process asks; a node is declared dead much later.
LATE_NS = 1_000_000_000


class OwnershipCheck:
    """Keeps the handler from going on until the database says that its run holds the job."""

    def __init__(self) -> None:
        #: How often this process was continued, and whether it is asking now.
        self._count = 0
        self._is_asking = False

    def ask(self, run: Run | None, owns_job: Callable[[Run], bool]) -> None:
        """Ask until there is an answer. The SIGCONT handler calls it in the main thread, which does nothing else then.

        A stop of the run interrupts the wait.
        """
        self._count += 1
        if run is None or not run.is_open or self._is_asking:
            return
        self._is_asking = True
        try:
            while run.stopped_for is None and not self._is_answered(run, owns_job):
                time.sleep(PAUSE_SECONDS)
        finally:
            self._is_asking = False

    def ask_if_late(self, run: Run, owns_job: Callable[[Run], bool]) -> None:
        """Ask before a handler begins whose claim was sent long ago; the main thread calls it.

        The process may have been frozen, or without a processor, while it waited for the claim. Its node may count as
        dead meanwhile, and another one may have run the job.
        """
        while time.time_ns() - run.claim_sent_ns > LATE_NS and run.stopped_for is None:
            if self._is_answered(run, owns_job):
                return
            time.sleep(PAUSE_SECONDS)

    def _is_answered(self, run: Run, owns_job: Callable[[Run], bool]) -> bool:
        count = self._count
        try:
            if not owns_job(run):
                run.stop_as_lost()
        except DatabaseUnavailable:
            return False
        # An answer from before another freeze does not count.
        return count == self._count
