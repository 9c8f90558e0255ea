"""kombu's Redis transport, fixed to drop messages that cannot be decoded.

In kombu's own transport, a list item that is not JSON or lacks a property raises an error in a node's event loop, which
ends the node or looks like a lost connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from queue import Empty
from typing import Any

from kombu.transport.redis import Channel, SentinelChannel, SentinelTransport, Transport
from kombu.utils.encoding import bytes_to_str
from redis.exceptions import RedisError

from ava.broker.untrusted_messages import DROPPED


class GuardedChannel(Channel):  # type: ignore[misc]  # kombu has no annotations
    def _brpop_read(self, **options: Any) -> Any:
        return _read(lambda: super(GuardedChannel, self)._brpop_read(**options))

    def _handle_message(self, client: Any, r: Any) -> dict[str, Any]:
        reply: dict[str, Any] = super()._handle_message(client, r)
        if bytes_to_str(reply["type"]).endswith("message"):
            try:
                self.Message(json.loads(reply["data"]), channel=self)
            except Exception:
                DROPPED.drop("control")
                # kombu ignores replies of unknown types.
                reply["type"] = "dropped"
        return reply

    def _get(self, queue: str) -> Any:
        """Return the next message of a queue. Raises `Empty` if there is none."""
        while (message := _read(lambda: super(GuardedChannel, self)._get(queue))) is None:
            pass
        return message


class GuardedTransport(Transport):  # type: ignore[misc]
    Channel = GuardedChannel


class GuardedSentinelChannel(GuardedChannel, SentinelChannel):  # type: ignore[misc]
    """A guarded channel to the master that Sentinel names."""


class GuardedSentinelTransport(SentinelTransport):  # type: ignore[misc]
    Channel = GuardedSentinelChannel


def _read(read: Callable[[], Any]) -> Any:
    """Return the result of `read`, or None if it met an undecodable message."""
    try:
        return read()
    except (Empty, OSError, RedisError):
        raise
    except Exception:
        DROPPED.drop("unreadable")
        return None
