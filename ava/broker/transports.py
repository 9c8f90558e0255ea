"""kombu's transports, corrected: RabbitMQ's verifies the host name of each server, Redis' drops invalid messages.

kombu puts the first RabbitMQ server's name into TLS options that all connections share. In its Redis
transport, a list item that is not JSON or lacks a property raises an error in a node's event loop, which ends the node
or looks like a lost connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from queue import Empty
from typing import Any

from kombu.transport import pyamqp
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


class NamedTransport(pyamqp.Transport):  # type: ignore[misc]  # kombu has no annotations
    def establish_connection(self) -> Any:
        # None stands for the server's name. kombu would fill it in only after replacing `localhost` with an address.
        if isinstance(self.client.ssl, dict) and self.client.ssl.get("server_hostname", "") is None:
            self.client.ssl = {**self.client.ssl, "server_hostname": self.client.hostname}
        return super().establish_connection()
