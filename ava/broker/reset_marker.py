"""A marker in the broker that is never consumed: if it is missing, the broker has lost everything.

It names the installation that set it; other installations refuse this broker. On Redis it is a key with the name as its
value, which FLUSHALL and a restart without persistence delete. On RabbitMQ it is a transient message in a separate
queue, which a restart drops. The queue's arguments contain the name, because RabbitMQ refuses a declaration with a
different value and reports the current one.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from kombu import Queue

NAME = "ava.reset_marker"
#: AMQP reply codes: no right to the queue; no such queue; it exists with other arguments.
_ACCESS_REFUSED, _NOT_FOUND, _PRECONDITION_FAILED = 403, 404, 406
#: RabbitMQ's message for the last code, truncated at 255 bytes.
_OTHER_NAME = re.compile(r"inequivalent arg 'x-dead-letter-routing-key'(?:.* current is (?:the value )?'([^']*)')?")
_UNKNOWN = "of an unknown name"


def read_other_owner(connection: Any, *, is_redis: bool, installation: str) -> str | None:
    """Return the installation that the marker names, if it is another one. Does not change the marker.

    Returns None also without a marker, or without the right to read it.
    """
    channel = connection.default_channel
    if is_redis:
        # Imported only for Redis, because it loads many modules.
        from redis.exceptions import NoPermissionError

        with suppress(NoPermissionError):
            return _other_owner_on_redis(channel, installation)
        return None
    try:
        # Passive, because a declaration would create the queue.
        channel.queue_declare(NAME, passive=True)
        _declare(channel, installation)
    except connection.channel_errors as refusal:
        if refusal.reply_code not in (_ACCESS_REFUSED, _NOT_FOUND, _PRECONDITION_FAILED):
            raise
        return _owner_in(refusal)
    return None


def set_if_absent(connection: Any, *, is_redis: bool, installation: str) -> tuple[bool, str | None]:
    """Set the marker if absent. Returns whether it was absent (the broker lost its data), and any other owner.

    Raises the transport's errors.
    """
    channel = connection.default_channel
    if is_redis:
        with channel.conn_or_acquire() as client:
            was_absent = bool(client.set(NAME, installation, nx=True))
        return was_absent, None if was_absent else _other_owner_on_redis(channel, installation)
    try:
        _declare(channel, installation)
    except connection.channel_errors as refusal:
        if refusal.reply_code != _PRECONDITION_FAILED:
            raise
        # The refusal has closed the default channel.
        connection.collect()
        if (owner := _owner_in(refusal)) is not None:
            return False, owner
        # A queue of another type, or without an installation's name.
        with connection.channel() as spare:
            spare.queue_delete(NAME)
        channel = connection.default_channel
        _declare(channel, installation)
    if channel.queue_declare(NAME, passive=True).message_count > 0:
        return False, None
    # A concurrent dispatcher may publish a second marker, which is harmless.
    connection.Producer(auto_declare=False).publish("", exchange="", routing_key=NAME, delivery_mode="transient")
    return True, None


def _other_owner_on_redis(channel: Any, installation: str) -> str | None:
    with channel.conn_or_acquire() as client:
        found = client.get(NAME)
    return None if found in (None, installation.encode()) else found.decode(errors="replace")


def _declare(channel: Any, installation: str) -> None:
    arguments = {
        # A quorum queue, possibly the virtual host's default, would retain the marker across a restart.
        "x-queue-type": "classic",
        # The queue has no dead letters. Among the arguments that RabbitMQ compares, this one accepts any string.
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": installation,
    }
    Queue(NAME, exchange="", routing_key=NAME, durable=True, queue_arguments=arguments).bind(channel).queue_declare()


def _owner_in(refusal: Any) -> str | None:
    """Return the owner that RabbitMQ's refusal of our declaration reports; None if the refusal has another cause."""
    found = _OTHER_NAME.search(refusal.reply_text)
    return None if found is None else found[1] or _UNKNOWN
