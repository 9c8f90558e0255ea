"""Detect the processes of a node that the kernel killed because memory was short.

The kernel reports only the number of kills, for this node's control group or for the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

OOM_ERROR = "WorkerLost: killed by the kernel, out of memory"
_GROUPS = Path("/sys/fs/cgroup")


def _counters() -> Iterator[Path]:
    """Yield the files that may contain a line `oom_kill 3`, the most specific to this process first."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for number, controllers, path in (line.split(":", 2) for line in lines):
        own = path.lstrip("/")
        if number == "0":
            yield _GROUPS / own / "memory.events"
        elif "memory" in controllers.split(","):
            # In a container the group may have the host's name for it.
            yield from (_GROUPS / "memory" / each / "memory.oom_control" for each in (own, ""))
    yield Path("/proc/vmstat")


class OomKills:
    """The number of out-of-memory kills. Its owner polls it regularly and after each death."""

    def __init__(self, counters: Sequence[Path] | None = None) -> None:
        found = counters if counters is not None else _counters()
        self._file = next((each for each in found if _read(each) is not None), None)
        self._last = self._before = self._count()

    def _count(self) -> int:
        return 0 if self._file is None else _read(self._file) or 0

    def poll(self) -> None:
        """Record the current number, so that these kills are not attributed to a later death."""
        # Keep the previous number, because a death is reported some time after the kernel counted it.
        self._before, self._last = self._last, self._count()

    def take(self) -> bool:
        """Return True if a process just killed by SIGKILL was probably killed for memory; each kill counts once."""
        if self._count() <= self._before:
            return False
        self._before += 1
        self._last = max(self._last, self._before)
        return True


def _read(path: Path) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
