"""Wear of one process, which is replaced after a maximum number of runs or amount of memory."""

from __future__ import annotations

import resource

from ava.handler import registry
from ava.node import run_use
from ava.node.outcome import MIB
from ava.settings import Settings


class Wear:
    """The wear of this process."""

    def __init__(self, settings: Settings) -> None:
        self._max_runs, self._max_mib = settings.max_jobs_per_process, settings.max_memory_per_process
        self._runs = 0
        limits = [each.spec.max_memory_mb or settings.max_memory_mb for each in registry.handlers().values()]
        #: Maximum private bytes after a run: halfway between the current ones and the lowest limit of any worker,
        #: because the next run may be of that worker. 0: unlimited.
        self._max_left = 0
        if limit_mb := min(filter(None, limits), default=0):
            self._max_left = (run_use.own_private_bytes() + limit_mb * MIB) // 2

    def note_run(self) -> None:
        """Count a called handler."""
        self._runs += 1

    @property
    def is_worn_out(self) -> bool:
        """Return True if this process has reached its maximum number of jobs or amount of memory."""
        if self._max_runs and self._runs >= self._max_runs:
            return True
        # In KiB; the peak of the process.
        if self._max_mib and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > self._max_mib * 1024:
            return True
        return bool(self._max_left) and run_use.own_private_bytes() > self._max_left
