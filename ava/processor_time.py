"""The processor time of a process's main thread."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

__all__ = ["SCHEDSTAT", "ProcessorTime"]

#: Nanoseconds for which our thread ran, and for which it was ready to run and waited (Linux, `sched-stats.rst`).
SCHEDSTAT = Path("/proc/self/schedstat")
#: Bytes that three numbers of 64 bits take at most.
_MAX_BYTES = 64


class ProcessorTime:
    """Reads the processor time of the process that makes it; the file stays open, because API requests read it."""

    def __init__(self, stat: Path = SCHEDSTAT) -> None:
        try:
            self._file = os.open(stat, os.O_RDONLY)
        except OSError:
            self._file = -1
        else:
            weakref.finalize(self, os.close, self._file)

    def read(self) -> tuple[float, float]:
        """Returns the seconds that the thread ran and waited for a processor; zeros if the system does not report."""
        try:
            ran, waited, _ = map(int, os.pread(self._file, _MAX_BYTES, 0).split())
        except (OSError, ValueError):
            return 0.0, 0.0
        return ran / 1e9, waited / 1e9
