"""Look-ups of names in one process, limited, because each holds a thread until its resolver answers or gives up."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial
from typing import Any

from ava.outbound.socket import Deadline, resolve_name

#: Look-ups of all owners at once, and of one. A look-up whose resolver is silent goes on long after its call has ended.
MAX_LOOK_UPS = 200
_MAX_OF_OWNER = 25


class LookUps:
    """Counts the look-ups under way, so that a slow resolver of one owner's names does not stop the calls of others."""

    def __init__(self, *, most: int = MAX_LOOK_UPS, max_of_owner: int = _MAX_OF_OWNER) -> None:
        self._most = most
        self._max_of_owner = max_of_owner
        self._under_way: Counter[str] = Counter()
        # Look-ups end in threads.
        self._lock = threading.Lock()

    def resolve(self, host: str, port: int, deadline: Deadline, *, owner: str) -> list[Any]:
        """Look a name up for an owner. Raises `TimeoutError`, at once if too many of its look-ups are under way."""
        with self._lock:
            if self._under_way[owner] >= self._max_of_owner or self._under_way.total() >= self._most:
                raise TimeoutError("earlier name look-ups have not ended")
            self._under_way[owner] += 1
        return resolve_name(host, port, deadline, partial(self._end, owner))

    def _end(self, owner: str) -> None:
        with self._lock:
            self._under_way[owner] -= 1
            if not self._under_way[owner]:
                del self._under_way[owner]
