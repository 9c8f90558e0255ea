"""How much one process has been used: it is replaced after so many runs, or so much memory."""

from __future__ import annotations

import resource

from ava.settings import Settings

__all__ = ["Wear"]


class Wear:
    """The wear of this process."""

    def __init__(self, settings: Settings) -> None:
        self._max_runs, self._max_mib = settings.max_jobs_per_process, settings.max_memory_per_process
        self._runs = 0

    def note_run(self) -> None:
        """A handler has been called."""
        self._runs += 1

    @property
    def is_worn_out(self) -> bool:
        """Returns True if this process has run as many jobs, or used as much memory, as one process may."""
        if self._max_runs and self._runs >= self._max_runs:
            return True
        # In KiB, and the most that it has used at any time.
        used_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return bool(self._max_mib) and used_kib > self._max_mib * 1024
