"""Which of a node's processes the kernel has killed because memory was short.

The kernel says only that it has killed some: it counts them for the control group of this node, or for the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

#: The error of a job whose process the kernel has killed for it.
OOM_ERROR = "WorkerLost: killed by the kernel, out of memory"
_GROUPS = Path("/sys/fs/cgroup")


def _counters() -> Iterator[Path]:
    """Yields the files that may have a line `oom_kill 3`, the one that is most about this process first."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for number, controllers, place in (line.split(":", 2) for line in lines):
        own = place.lstrip("/")
        if number == "0":
            yield _GROUPS / own / "memory.events"
        elif "memory" in controllers.split(","):
            # In a container the group's own name may be that of the host.
            yield from (_GROUPS / "memory" / each / "memory.oom_control" for each in (own, ""))
    yield Path("/proc/vmstat")


class OomKills:
    """The number of these kills, as far as the kernel says it. Its owner looks once in a while, and after a death."""

    def __init__(self, counters: Sequence[Path] | None = None) -> None:
        """`counters`: the files to read it from."""
        found = counters if counters is not None else _counters()
        self._file = next((each for each in found if _read(each) is not None), None)
        self._last = self._before = self._count()

    def _count(self) -> int:
        return 0 if self._file is None else _read(self._file) or 0

    def look(self) -> None:
        """Note how many there are, so that a later death is not taken for one of these."""
        # The one before the last look, because a death is reported some moments after it was counted.
        self._before, self._last = self._last, self._count()

    def take(self) -> bool:
        """Returns True if a process that has just died by SIGKILL is probably one of them; each counts once."""
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
