"""How long the last runs of each worker's handler took in this process, and what follows from it."""

from __future__ import annotations

import time

from ava.domain.jobs import run_groups
from ava.domain.jobs.messages import MAX_RUNS
from ava.domain.worker import OnWorkerLost
from ava.handler import registry

#: With fewer runs a claim saves little. Claimed one by one, runs follow each other more slowly than together.
_MIN_TOGETHER = 4
#: Seconds below which a handler is brief: its runs share claims, because so few take no longer than a message.
BRIEF_SECONDS = run_groups.SECONDS / _MIN_TOGETHER
#: How much of the time between the last two runs counts in the average.
_NEWEST = 0.2
#: How much a run counts in the average of its handler's times, if it was slower or faster than that.
_SLOWER, _FASTER = 0.2, 0.5


class HandlerTimes:
    """The seconds of the last runs, by worker id."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        #: Seconds from a run to the next one of its message, on average, and when the last one began.
        self._run_seconds = run_groups.SECONDS / MAX_RUNS
        self._began_at = 0.0

    def record(self, worker_id: str, seconds: float) -> None:
        """Record a run. After long ones, several short ones must follow until the handler is brief again.

        One that was without a processor for a moment changes little.
        """
        known = self._seconds.get(worker_id, seconds)
        self._seconds[worker_id] = known + (seconds - known) * (_SLOWER if seconds > known else _FASTER)

    def note_begin(self, *, is_first: bool) -> None:
        """Note that a run begins. `is_first`: it is the first of its message."""
        now = time.monotonic()
        if not is_first:
            self._run_seconds += _NEWEST * (now - self._began_at - self._run_seconds)
        self._began_at = now

    def _is_brief(self, worker_id: str) -> bool:
        """Returns True if the last runs of a worker's handler were brief."""
        return self._seconds.get(worker_id, BRIEF_SECONDS) < BRIEF_SECONDS

    def max_together(self, worker_id: str) -> int:
        """Returns how many runs of a worker may share a claim. 1 means that each is claimed when its turn comes.

        A killed process loses all runs that share a claim, so those do not whose loss is a failure.
        """
        handler = registry.find(worker_id)
        if handler is None or handler.spec.on_worker_lost is not OnWorkerLost.REQUEUE or not self._is_brief(worker_id):
            return 1
        # Half of a message's time, because a job is shown as running while it waits for those before it.
        return max(_MIN_TOGETHER, int(run_groups.SECONDS / 2 / max(self._run_seconds, self._seconds[worker_id])))
