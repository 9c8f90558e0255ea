"""A marker in the broker that is never consumed: if it is absent, the broker has lost everything.

On Redis it is a key, which FLUSHALL and a restart without persistence delete; its value names the
installation that set it. On RabbitMQ it is a transient message in
a queue of its own, which a restart drops like every transient message.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from kombu import Queue

__all__ = ["NAME", "UNNAMED", "read_owner", "set_if_absent"]

NAME = "ava.reset_marker"
#: The value of a marker that names no installation.
UNNAMED = "1"
#: AMQP's reply code if a queue exists with other arguments.
_PRECONDITION_FAILED = 406


def read_owner(connection: Any) -> str | None:
    """Returns the installation that Redis's marker names; None without a marker, or without the right to read it."""
    # Loaded where Redis is used, because it loads many modules.
    from redis.exceptions import NoPermissionError

    channel = connection.default_channel
    with channel.conn_or_acquire() as client, suppress(NoPermissionError):
        found = client.get(NAME)
        return None if found in (None, UNNAMED.encode()) else found.decode(errors="replace")
    return None


def set_if_absent(connection: Any, *, is_redis: bool, installation: str = UNNAMED) -> bool:
    """Set the marker if absent. Returns True if it was absent, i.e. the broker lost its data.

    Raises the transport's errors.
    """
    channel = connection.default_channel
    if is_redis:
        with channel.conn_or_acquire() as client:
            return bool(client.set(NAME, installation, nx=True))
    try:
        _declare(channel)
    except connection.channel_errors as refusal:
        if getattr(refusal, "reply_code", None) != _PRECONDITION_FAILED:
            raise
        # An earlier release declared it as a queue of another type, which may keep the marker over a restart.
        with connection.channel() as spare:
            spare.queue_delete(NAME)
        # The refusal has closed the default channel.
        connection.collect()
        channel = connection.default_channel
        _declare(channel)
    if channel.queue_declare(NAME, passive=True).message_count > 0:
        return False
    # A second dispatcher may publish a second marker at the same moment, which is harmless.
    connection.Producer(auto_declare=False).publish("", exchange="", routing_key=NAME, delivery_mode="transient")
    return True


def _declare(channel: Any) -> None:
    # A quorum queue, which a virtual host may have as its default, keeps the marker over a restart.
    arguments = {"x-queue-type": "classic"}
    Queue(NAME, exchange="", routing_key=NAME, durable=True, queue_arguments=arguments).bind(channel).queue_declare()
