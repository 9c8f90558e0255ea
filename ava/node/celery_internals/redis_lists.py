"""Fetch a node's next message from Redis efficiently: with many queues, request only non-empty ones.

kombu requests all lists with one BRPOP: ten per queue, one per priority, and Python and Redis process each name for
each message. Redis deletes empty lists, so a node with many queues reads the existing names with SCAN and requests the
first of them, in the order of kombu's BRPOP. If none exists, it waits for all lists.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from queue import Empty
from typing import Any

from ava.broker.refused_queues import is_of_queue
from ava.node.celery_internals.queue_consumer import QueueConsumer

_log = logging.getLogger(__name__)

#: Up to this many queues, one BRPOP is cheaper: a queue adds 0.01 ms to it, and a SCAN of few keys takes 0.3 ms.
_FEW_QUEUES = 30
#: Maximum keys that one SCAN reads. A database with more contains other data, and a full SCAN may cost more than it
#: saves.
_MAX_KEYS = 10_000
#: Seconds until a database with too many keys is scanned again.
_PAUSE_SECONDS = 10.0
#: Maximum lists in one request. The first has a message, unless another node has just taken it.
_MAX_LISTS = 20
#: Maximum seconds that Redis waits if other nodes have emptied them.
_WAIT_SECONDS = 0.01


class RedisLists:
    def __init__(self, channel: Any, consumer: QueueConsumer) -> None:
        self._channel = channel
        self._consumer = consumer
        self._start_for_all = channel._brpop_start
        self._read = channel.handlers["BRPOP"]
        self._client = channel.Client(connection_pool=channel.pool, single_connection_client=True)
        #: The queue and the position of the priority of each list.
        self._lists: Mapping[str, tuple[str, int]] = {}
        self._queues: frozenset[str] = frozenset()
        #: The encoded BRPOP for all lists.
        self._for_all: Sequence[bytes] = ()
        self._scans_from = float("inf") if channel.global_keyprefix else 0.0
        channel._brpop_start = self.start
        channel.handlers["BRPOP"] = self.read

    def start(self, timeout: float | None = None) -> None:
        """Request the next message."""
        channel = self._channel
        queues = channel._queue_cycle.items
        waiting = self._find_waiting(queues) if len(queues) > _FEW_QUEUES else None
        if waiting is None:
            self._start_for_all(timeout)
            return
        connection = channel.client.connection
        channel._in_poll = connection
        channel._brpop_sent_at = time.monotonic()
        if waiting:
            connection.send_command("BRPOP", *waiting, _WAIT_SECONDS)
        else:
            connection.send_packed_command(self._for_all)

    def read(self, **options: Any) -> Any:
        """Read the reply, and deliver its message. Raises `Empty` without one, also if a key is no list; its queue is
        then refused.
        """
        try:
            return self._read(**options)
        except self._channel.ResponseError as error:
            if is_of_queue(error) and self._consumer.check():
                raise Empty from error
            raise

    def _record_queues(self, queues: frozenset[str]) -> None:
        channel, steps = self._channel, self._channel.priority_steps
        self._lists = {
            channel._q_for_pri(queue, step): (queue, rank) for rank, step in enumerate(steps) for queue in queues
        }
        # The order is irrelevant, because all lists are empty.
        self._for_all = channel.client.connection.pack_command("BRPOP", *self._lists, channel.brpop_timeout)
        self._queues = queues

    def _find_waiting(self, queues: Sequence[str]) -> list[str] | None:
        """Return the first lists with messages, in order of priority and then of `queues`.

        Returns None if unknown: the user may not SCAN, or the database contains too many other keys.
        """
        if time.monotonic() < self._scans_from:
            return None
        if len(queues) != len(self._queues) or not self._queues.issuperset(queues):
            self._record_queues(frozenset(queues))
        try:
            cursor, keys = self._client.scan(0, count=_MAX_KEYS, _type="list")
        except self._channel.ResponseError as error:
            _log.warning(
                "Redis refuses SCAN, so a node with many queues needs more time per message; allow the command: %s",
                error,
            )
            self._scans_from = float("inf")
            return None
        if cursor:
            self._scans_from = time.monotonic() + _PAUSE_SECONDS
            return None
        ranks = {queue: rank for rank, queue in enumerate(queues)}
        found = []
        for name in (key.decode(errors="replace") for key in keys):
            if name in self._lists:
                queue, step = self._lists[name]
                found.append((step, ranks[queue], name))
        return [name for _, _, name in sorted(found)[:_MAX_LISTS]]
