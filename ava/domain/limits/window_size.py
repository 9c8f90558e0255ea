"""How many unstarted messages one window may have, by what its processes take from it."""

from __future__ import annotations

from collections import deque

#: The window holds what the processes take in so many seconds …
_ALONE_SECONDS = 0.5
#: … and if several tenants wait in it, in so many. Then another tenant's first job soon starts without a recall.
_SHARED_SECONDS = 0.15
#: The least size while one tenant waits, until it is known how fast the processes are.
_MIN_ALONE = 16
#: What a window keeps of its size from one look to the next, so that it does not shrink at once after it was too small.
_KEPT = 0.9


class WindowSize:
    """The size of one window: what its processes take in a moment, and the setting `AVA_WINDOW` at most.

    While one tenant waits it is twice the live processes at least. While several do it may be as few as the processes,
    so that another tenant's first job starts when the busy processes have come free twice.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0.0
        self._was_shared = False
        #: True if several tenants wait at this look, and one did at the look before.
        self.is_newly_shared = False
        #: What was taken from the window: the moment of each look, and the number of messages.
        self._taken: deque[tuple[float, int]] = deque()
        #: The seconds between two looks lately.
        self._between = 0.0
        self._published = 0
        self._had_backlog = False

    def look(self, now: float, *, published: int, processes: int, is_shared: bool) -> int:
        """Returns the size of a window that has `published` unstarted messages at the moment `now`, in seconds."""
        # A look that comes late must not find the window empty, so it holds what is taken until the look after next.
        between = now - self._taken[-1][0] if self._taken else 0.0
        self.is_newly_shared = is_shared and not self._was_shared
        # While several tenants wait, looks follow each other sooner.
        self._between = 0.0 if self.is_newly_shared else max(between, self._between * _KEPT)
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
            # The processes may have found no message.
            wanted = max(wanted, 2 * self._size)
        # What one tenant had alone is no measure of what it may have beside another: the rest is recalled at once.
        kept = min(self._size * _KEPT, taken) if is_shared == self._was_shared else 0
        self._size, self._was_shared = min(self._most, max(wanted, kept)), is_shared
        return max(1, round(self._size))

    def fed(self, *, published: int, has_backlog: bool) -> None:
        """Record what the window has after this look, and whether more waits for it."""
        self._published, self._had_backlog = published, has_backlog
