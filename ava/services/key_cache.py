"""A process's cache by token, so that not every request queries the database."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from ava.domain.access.tokens import Token

Value = TypeVar("Value")


def cache_name(token: Token) -> bytes:
    """Return a hash, so that no token stays in memory."""
    return hashlib.sha256(token.encoded.encode()).digest()


class KeyCache(Generic[Value]):
    """Values by token hash, each with an expiry. Beyond `max_entries` the oldest are dropped."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, tuple[float, Value]] = OrderedDict()

    def get(self, token_hash: bytes, now: float) -> Value | None:
        """Return a token's value; None if it is unknown or has expired. `now` is monotonic."""
        with self._lock:
            until, value = self._entries.get(token_hash, (now, None))
            return value if now < until else None

    def put(self, token_hash: bytes, value: Value, *, until: float) -> None:
        with self._lock:
            self._entries.pop(token_hash, None)
            self._entries[token_hash] = (until, value)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
