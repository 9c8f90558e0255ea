"""A marker in the broker that is never consumed: if it is absent, the broker has lost everything.

It names the installation that set it, and another one refuses this broker. On Redis it is a key, which FLUSHALL and a
restart without persistence delete, and its value is the name. On RabbitMQ it is a transient message in a queue of its
own, which a restart drops like every transient message. The name is an argument of that queue, because RabbitMQ refuses
a second declaration with another value, and says which one the queue has.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from kombu import Queue

NAME = "ava.reset_marker"
#: AMQP's reply codes: no right to the queue; there is no such queue; it exists with other arguments.
_ACCESS_REFUSED, _NOT_FOUND, _PRECONDITION_FAILED = 403, 404, 406
#: RabbitMQ's text of the last one, which is cut at 255 bytes.
_OTHER_NAME = re.compile(r"inequivalent arg 'x-dead-letter-routing-key'(?:.* current is (?:the value )?'([^']*)')?")
_UNKNOWN = "of an unknown name"


def read_other_owner(connection: Any, *, is_redis: bool, installation: str) -> str | None:
    """Returns the installation that the marker names, if it is not this one. The marker is left as it is.

    Returns None as well without a marker, and without the right to read it.
    """
    channel = connection.default_channel
    if is_redis:
        # Loaded where Redis is used, because it loads many modules.
        from redis.exceptions import NoPermissionError

        with suppress(NoPermissionError):
            return _other_owner_on_redis(channel, installation)
        return None
    try:
        # A declaration would make the queue.
        channel.queue_declare(NAME, passive=True)
        _declare(channel, installation)
    except connection.channel_errors as refusal:
        if refusal.reply_code not in (_ACCESS_REFUSED, _NOT_FOUND, _PRECONDITION_FAILED):
            raise
        return _owner_in(refusal)
    return None


def set_if_absent(connection: Any, *, is_redis: bool, installation: str) -> tuple[bool, str | None]:
    """Set the marker if absent. Returns whether it was absent, so that the broker lost its data, and any other owner.

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
        # A queue of another type, or one that names no installation.
        with connection.channel() as spare:
            spare.queue_delete(NAME)
        channel = connection.default_channel
        _declare(channel, installation)
    if channel.queue_declare(NAME, passive=True).message_count > 0:
        return False, None
    # A second dispatcher may publish a second marker at the same moment, which is harmless.
    connection.Producer(auto_declare=False).publish("", exchange="", routing_key=NAME, delivery_mode="transient")
    return True, None


def _other_owner_on_redis(channel: Any, installation: str) -> str | None:
    with channel.conn_or_acquire() as client:
        found = client.get(NAME)
    return None if found in (None, installation.encode()) else found.decode(errors="replace")


def _declare(channel: Any, installation: str) -> None:
    arguments = {
        # A quorum queue, which a virtual host may have as its default, keeps the marker over a restart.
        "x-queue-type": "classic",
        # The queue has no dead letters. Of the arguments that RabbitMQ compares, this one takes any text.
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": installation,
    }
    Queue(NAME, exchange="", routing_key=NAME, durable=True, queue_arguments=arguments).bind(channel).queue_declare()


def _owner_in(refusal: Any) -> str | None:
    """Returns the owner that RabbitMQ's refusal of our declaration is about; None if it is about something else."""
    found = _OTHER_NAME.search(refusal.reply_text)
    return None if found is None else found[1] or _UNKNOWN
