"""kombu's Redis transport, which here drops a message that cannot be read.

With kombu's own, a value in a queue's list that is no JSON, or lacks a property, is raised in the event loop of a node
and ends it, or counts as the loss of the connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from queue import Empty
from typing import Any

from kombu.transport.redis import Channel, SentinelChannel, SentinelTransport, Transport
from kombu.utils.encoding import bytes_to_str
from redis.exceptions import RedisError

from ava.broker.dropped import DROPPED


class GuardedChannel(Channel):  # type: ignore[misc]  # kombu has no annotations
    """A channel that drops what it cannot read."""

    def _brpop_read(self, **options: Any) -> Any:
        """Read a message of a queue, from the reply to BRPOP."""
        return _read(lambda: super(GuardedChannel, self)._brpop_read(**options))

    def _handle_message(self, client: Any, r: Any) -> dict[str, Any]:
        """Read what Redis says of a channel that messages of remote control are published to."""
        reply: dict[str, Any] = super()._handle_message(client, r)
        if bytes_to_str(reply["type"]).endswith("message"):
            try:
                self.Message(json.loads(reply["data"]), channel=self)
            except Exception:
                DROPPED.drop("control")
                # kombu reads messages alone.
                reply["type"] = "dropped"
        return reply

    def _get(self, queue: str) -> Any:
        """Returns the next message of a queue. Raises `Empty` if there is none."""
        while (message := _read(lambda: super(GuardedChannel, self)._get(queue))) is None:
            pass
        return message


class GuardedTransport(Transport):  # type: ignore[misc]
    """A transport of such channels."""

    Channel = GuardedChannel


class GuardedSentinelChannel(GuardedChannel, SentinelChannel):  # type: ignore[misc]
    """Such a channel to the master that Sentinel names."""


class GuardedSentinelTransport(SentinelTransport):  # type: ignore[misc]
    """A transport of such channels."""

    Channel = GuardedSentinelChannel


def _read(read: Callable[[], Any]) -> Any:
    """Returns what `read` returns, or None after it met a message that cannot be read."""
    try:
        return read()
    except (Empty, OSError, RedisError):
        # The queue is empty, or the connection is lost.
        raise
    except Exception:
        DROPPED.drop("unreadable")
        return None
