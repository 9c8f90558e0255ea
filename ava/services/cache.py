"""The one cache of the use cases: what a process has read, until it expires or makes room for newer entries."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Cache(Generic[Key, Value]):
    """Values by key, each with an expiry and a weight. Beyond the limits the least recently used are dropped."""

    def __init__(self, max_entries: int, *, max_weight: float = math.inf) -> None:
        self._max_entries, self._max_weight = max_entries, max_weight
        self._lock = threading.Lock()
        self._entries: OrderedDict[Key, tuple[float, Value, float]] = OrderedDict()
        self._weight = 0.0

    def get(self, key: Key, now: float = 0.0) -> Value | None:
        """Return a key's value; None if it is unknown or has expired. `now`: on the clock of `put`'s `until`."""
        with self._lock:
            until, value, _ = self._entries.get(key, (now, None, 0))
            if now >= until:
                return None
            self._entries.move_to_end(key)
            return value

    def put(self, key: Key, value: Value, *, until: float = math.inf, weight: float = 0) -> None:
        with self._lock:
            self._drop(key)
            self._entries[key] = (until, value, weight)
            self._weight += weight
            while len(self._entries) > self._max_entries or (
                len(self._entries) > 1 and self._weight > self._max_weight
            ):
                self._drop(next(iter(self._entries)))

    def drop(self, key: Key) -> None:
        with self._lock:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self._weight -= entry[2]

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._weight = 0.0
