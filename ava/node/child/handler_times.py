"""Recent run times of each worker's handler in this process, which decide how many runs may share a claim."""

from __future__ import annotations

import math
import time

from ava.domain.jobs import run_groups
from ava.domain.jobs.messages import MAX_RUNS
from ava.domain.worker import OnWorkerLost
from ava.handler import registry

#: Minimum of runs that share a claim. Fewer cost more statements (1 + 2/n per job, with the check of the first run)
#: than claims in the statement that ends the previous run (1 per job).
_MIN_TOGETHER = 4
#: The share of `SHOWN_SECONDS` in which the last run of a claim should begin. Later ones return to the backlog, which
#: costs more than the claim saves.
_SHOWN_PART = 0.75
#: A handler below this is short: all but the last of `_MIN_TOGETHER` runs take at most `SHOWN_SECONDS`.
BRIEF_SECONDS = run_groups.SHOWN_SECONDS / (_MIN_TOGETHER - 1)
#: Weight of the latest interval between runs in the average.
_NEWEST = 0.2
#: Weight of a run that was slower or faster than its handler's average.
_SLOWER, _FASTER = 0.2, 0.5


class HandlerTimes:
    """Recent run times in seconds, by worker id."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        #: Average seconds between the starts of two runs of a message, and the start of the last one.
        self._run_seconds = run_groups.SECONDS / MAX_RUNS
        self._began_at = 0.0

    def record(self, worker_id: str, seconds: float) -> None:
        """Record a run's duration. After long runs, several short ones must follow until the handler counts as short.

        A single run that briefly lacked a processor has little effect.
        """
        known = self._seconds.get(worker_id, seconds)
        self._seconds[worker_id] = known + (seconds - known) * (_SLOWER if seconds > known else _FASTER)

    def record_begin(self, *, is_first: bool) -> None:
        """Record the start of a run. `is_first`: it is the first of its message."""
        now = time.monotonic()
        if not is_first:
            self._run_seconds += _NEWEST * (now - self._began_at - self._run_seconds)
        self._began_at = now

    def seconds(self, worker_id: str) -> float:
        """Return the recent run time of a worker; that of a long run if it has not run yet."""
        return self._seconds.get(worker_id, BRIEF_SECONDS)

    def next_end_seconds(self, worker_id: str) -> float:
        """Return the seconds until the end of a worker's next run; infinity if its ends share no statement."""
        handler = registry.find(worker_id)
        if handler is None or not handler.spec.shares_ends:
            return math.inf
        return max(self._run_seconds, self.seconds(worker_id))

    def max_together(self, worker_id: str) -> int:
        """Return the maximum number of a worker's runs that may share a claim; 1: each is claimed individually.

        A killed process loses all runs of its claim, so workers that treat a loss as a failure share none.
        """
        handler = registry.find(worker_id)
        if handler is None or handler.spec.on_worker_lost is not OnWorkerLost.REQUEUE:
            return 1
        if self.seconds(worker_id) >= BRIEF_SECONDS:
            return 1
        run_seconds = max(self._run_seconds, self._seconds[worker_id])
        in_time = 1 + int(_SHOWN_PART * run_groups.SHOWN_SECONDS / run_seconds)
        if in_time < _MIN_TOGETHER:
            return 1
        # Half of a message's time, because claimed runs begin before a more urgent job.
        return max(_MIN_TOGETHER, int(run_groups.SECONDS / 2 / run_seconds))
