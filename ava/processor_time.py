"""The processor time of this process's main thread."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SCHEDSTAT", "read"]

#: Nanoseconds for which our thread ran, and for which it was ready to run and waited (Linux, `sched-stats.rst`).
SCHEDSTAT = Path("/proc/self/schedstat")


def read(stat: Path = SCHEDSTAT) -> tuple[float, float]:
    """Returns the seconds that the thread ran and waited for a processor; zeros if the system does not report."""
    try:
        ran, waited, _ = map(int, stat.read_text().split())
    except (OSError, ValueError):
        return 0.0, 0.0
    return ran / 1e9, waited / 1e9
