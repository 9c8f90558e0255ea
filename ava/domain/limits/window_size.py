"""The size of a window: its maximum of unstarted messages, from the throughput of its processes."""

from __future__ import annotations

from collections import deque

#: The window holds what its processes consume in this many seconds …
_ALONE_SECONDS = 0.5
#: … and if several tenants wait, in this many, so that another tenant's first job starts soon without a recall.
_SHARED_SECONDS = 0.15
#: Min size while one tenant waits, until the processes' speed is known.
_MIN_ALONE = 16
#: Decay of the size per poll, so that a window that was too small does not shrink again immediately.
_DECAY = 0.9


class WindowSize:
    """The size of one window: the near consumption of its processes, at most the setting `AVA_WINDOW`.

    While one tenant waits, it is at least twice the live processes. While several wait, it may shrink to the number of
    processes, so that another tenant's first job starts once the busy processes have become free twice.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._size = 0.0
        self._was_shared = False
        #: Whether several tenants wait in this poll, but one did in the previous.
        self.is_newly_shared = False
        #: The time of each poll, and the messages taken since the previous.
        self._taken: deque[tuple[float, int]] = deque()
        self._between = 0.0
        self._published = 0
        self._had_backlog = False

    def poll(self, now: float, *, published: int, processes: int, is_shared: bool) -> int:
        """Return the size of a window that has `published` unstarted messages at the time `now`, in seconds."""
        # A late poll must not find the window empty, so it covers the consumption until the poll after next.
        between = now - self._taken[-1][0] if self._taken else 0.0
        self.is_newly_shared = is_shared and not self._was_shared
        # Polls are more frequent while several tenants wait.
        self._between = 0.0 if self.is_newly_shared else max(between, self._between * _DECAY)
        self._taken.append((now, max(0, self._published - published)))
        while self._taken[0][0] <= now - max(_ALONE_SECONDS, between):
            self._taken.popleft()
        taken = sum(count for _, count in self._taken)
        per_second = taken / max(_ALONE_SECONDS, between)
        if is_shared:
            wanted = max(processes, per_second * max(_SHARED_SECONDS, 2 * self._between))
        else:
            wanted = max(2 * processes, per_second * max(_ALONE_SECONDS, 2 * self._between), _MIN_ALONE)
        if self._had_backlog and published == 0 and taken:
            # The window ran empty, so some processes may have found no message.
            wanted = max(wanted, 2 * self._size)
        # A single tenant's size is no measure for a shared window: the dispatcher recalls the rest immediately.
        decayed = min(self._size * _DECAY, taken) if is_shared == self._was_shared else 0
        self._size, self._was_shared = min(self._max_size, max(wanted, decayed)), is_shared
        return max(1, round(self._size))

    def fed(self, *, published: int, has_backlog: bool) -> None:
        """Record the window's messages after this poll, and whether it has a backlog."""
        self._published, self._had_backlog = published, has_backlog
