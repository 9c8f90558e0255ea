"""Queues that the broker refuses while it serves the others."""

from __future__ import annotations

import logging
import time

_log = logging.getLogger(__name__)

#: AMQP's replies that close a channel because of one queue: access refused, not found (also: its cluster node is down),
#: resource locked, precondition failed (it exists with other arguments).
_REPLY_CODES = frozenset({403, 404, 405, 406})
#: Redis's answer if a queue's key holds no list, and if it has no memory left.
_WRONG_TYPE = "WRONGTYPE"
_NO_MEMORY = "command not allowed when used memory > 'maxmemory'"


def is_of_queue(error: BaseException | None) -> bool:
    """Returns True if a transport's error is about the queue that was used, not about the broker."""
    return getattr(error, "reply_code", None) in _REPLY_CODES or _WRONG_TYPE in str(error)


def is_of_memory(error: BaseException | None) -> bool:
    """Returns True if Redis has used its `maxmemory`. Each message that a node takes makes room for another."""
    return _NO_MEMORY in str(error)


class Refusals:
    """The queues that the broker refused a moment ago. Each is tried again after some seconds."""

    #: Seconds until a queue is tried again; longer if the broker gave no answer, because each trial waits for it.
    retry_seconds = 5.0
    silent_retry_seconds = 30.0

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def names(self) -> frozenset[str]:
        """Returns the queues that the broker refused when they were last tried. Any thread may ask."""
        return frozenset(tuple(self._until))

    def holds(self, queue: str) -> bool:
        """Returns True if the queue is not to be tried yet."""
        return bool(self._until) and self._until.get(queue, 0) > time.monotonic()

    def add(self, queue: str, error: BaseException | None) -> None:
        """Leave a queue alone for some seconds, and log it once."""
        if queue not in self._until:
            _log.warning("The broker refuses the queue %s, will retry; its jobs wait in the database: %s", queue, error)
        seconds = self.silent_retry_seconds if isinstance(error, TimeoutError) else self.retry_seconds
        self._until[queue] = time.monotonic() + seconds

    def remove(self, queue: str) -> None:
        """The broker has accepted the queue."""
        if self._until and self._until.pop(queue, None) is not None:
            _log.warning("The broker accepts the queue %s again.", queue)
