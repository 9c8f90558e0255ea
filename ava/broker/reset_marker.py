"""A message of ours in the broker that nobody ever takes out: where it is gone, so are all that were there.

On Redis a key, gone after FLUSHALL and with a server that kept nothing; on RabbitMQ a transient message in a queue of
its own, gone after a restart as every transient message is.
"""

from __future__ import annotations

from typing import Any

from kombu import Queue

__all__ = ["NAME", "set_if_absent"]

NAME = "ava.reset_marker"


def set_if_absent(connection: Any, *, is_redis: bool) -> bool:
    """Put the canary there; whether it was not. Raises the transport's errors."""
    channel = connection.default_channel
    if is_redis:
        with channel.conn_or_acquire() as client:
            return bool(client.set(NAME, "1", nx=True))
    queue = Queue(NAME, exchange="", routing_key=NAME, durable=True).bind(channel)
    queue.queue_declare()
    if channel.queue_declare(NAME, passive=True).message_count > 0:
        return False
    connection.Producer(auto_declare=False).publish("", exchange="", routing_key=NAME, delivery_mode="transient")
    # A second canary, of another dispatcher in the same moment, would do no harm.
    return True
