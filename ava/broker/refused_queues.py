"""Queues that the broker refuses while it serves the others."""

from __future__ import annotations

import logging
import time

_log = logging.getLogger(__name__)

#: AMQP reply codes that close a channel because of one queue: access refused, not found (or its cluster node is down),
#: resource locked, precondition failed (it exists with other arguments).
_REPLY_CODES = frozenset({403, 404, 405, 406})
#: Redis's errors if a queue's key holds no list, and if it is out of memory.
_WRONG_TYPE = "WRONGTYPE"
_NO_MEMORY = "command not allowed when used memory > 'maxmemory'"


def is_of_queue(error: BaseException | None) -> bool:
    """Return True if a transport's error concerns the queue, not the whole broker."""
    return getattr(error, "reply_code", None) in _REPLY_CODES or _WRONG_TYPE in str(error)


def is_of_memory(error: BaseException | None) -> bool:
    """Return True if Redis reached `maxmemory`. Each message that a node receives frees memory for another."""
    return _NO_MEMORY in str(error)


class Refusals:
    """The queues that the broker recently refused. Each is retried after some seconds."""

    #: Seconds until a queue is retried; longer after a timeout, because each attempt waits for it.
    retry_seconds = 5.0
    timeout_retry_seconds = 30.0

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def names(self) -> frozenset[str]:
        """Return the queues that the broker refused at the last attempt. Thread-safe."""
        return frozenset(tuple(self._until))

    def holds(self, queue: str) -> bool:
        return bool(self._until) and self._until.get(queue, 0) > time.monotonic()

    def add(self, queue: str, error: BaseException | None) -> None:
        """Block a queue for some seconds, and log the first refusal."""
        if queue not in self._until:
            _log.warning("The broker refuses the queue %s, will retry; its jobs wait in the database: %s", queue, error)
        seconds = self.timeout_retry_seconds if isinstance(error, TimeoutError) else self.retry_seconds
        self._until[queue] = time.monotonic() + seconds

    def remove(self, queue: str) -> None:
        if self._until and self._until.pop(queue, None) is not None:
            _log.warning("The broker accepts the queue %s again.", queue)
