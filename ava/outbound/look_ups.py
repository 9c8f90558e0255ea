"""Limit name lookups in one process, because each occupies a thread until its resolver responds or gives up."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial
from typing import Any

from ava.outbound.socket import Deadline, resolve_name

#: Maximum concurrent lookups, in total and per owner. With a silent resolver a lookup long outlives its call.
MAX_LOOK_UPS = 200
_MAX_OF_OWNER = 25


class LookUps:
    """Counts running lookups, so that one owner's slow resolver does not block the calls of others."""

    def __init__(self, *, most: int = MAX_LOOK_UPS, max_of_owner: int = _MAX_OF_OWNER) -> None:
        self._most = most
        self._max_of_owner = max_of_owner
        self._under_way: Counter[str] = Counter()
        # Lookups end in threads.
        self._lock = threading.Lock()

    def resolve(self, host: str, port: int, deadline: Deadline, *, owner: str) -> list[Any]:
        """Resolve a name for an owner. Raises `TimeoutError`, immediately if too many lookups are running."""
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
