"""Checks of the broker's queues: that they support priorities, and that this user may use them as a node does."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any
from uuid import uuid4

from ava.broker import connectivity
from ava.broker.app import make_app, make_queue
from ava.domain import priority
from ava.errors import StartError
from ava.settings import Settings

__all__ = ["check", "try_out"]

#: Separates the queue's name from the priority in the name of a Redis list (`kombu.transport.redis`, "sep").
_SEPARATOR = "\x06\x16"
#: Seconds for one message to arrive in an empty queue.
_CONSUME_SECONDS = 5.0
_DIFFERENT = (
    "the queue {name!r} of RabbitMQ differs from our declaration ({reason}), so it has no priorities and no node can "
    "consume it. Stop what else declares it, then run `rabbitmqctl delete_queue {name}`: our processes declare it "
    "again, and the dispatcher republishes its messages."
)


def check(settings: Settings, names: Collection[str]) -> str:
    """Check these queues without creating any. Returns one line that describes them.

    Raises `StartError`, which says what to do, if a queue differs from our declaration or the broker is out of reach.
    """
    check_on = _check_on_redis if settings.broker_is_redis else _check_on_rabbitmq
    with connectivity.make_connection(settings) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=5)
            return check_on(connection, sorted(names))
        except StartError:
            raise
        except Exception as problem:
            reason = str(problem.__cause__ or problem).strip() or type(problem).__name__
            raise StartError(f"the broker's queues cannot be checked: {reason}") from problem


def try_out(settings: Settings) -> None:
    """Declare a queue of its own as a node does, publish one message to it, consume it, and delete the queue.

    Raises `StartError` with the broker's reason if any of these is refused.
    """
    queue = make_queue(f"ava.doctor.{uuid4().hex}", no_ack=settings.broker_is_redis)
    # RabbitMQ deletes the queue if this process cannot.
    queue.expires = 60
    step = "connect to it"
    with make_app(settings, consumes=True).connection_for_read() as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=5)
            step = f"declare the queue {queue.name!r}"
            bound = queue.bind(connection.default_channel)
            bound.declare()
            try:
                step = f"publish to the queue {queue.name!r}"
                connection.Producer().publish("", exchange="", routing_key=queue.name, delivery_mode="transient")
                step = f"consume the queue {queue.name!r}"
                with connection.Consumer([queue], on_message=_acknowledge):
                    connection.drain_events(timeout=_CONSUME_SECONDS)
            finally:
                # On RabbitMQ a refusal closes the channel. On Redis a queue is the messages in it.
                bound = queue.bind(connection.channel())
                bound.purge()
                bound.delete()
        except Exception as problem:
            # Each transport raises errors of its own, without a common class.
            reason = str(problem.__cause__ or problem).strip() or type(problem).__name__
            raise StartError(f"this user of BROKER_URL cannot {step}, as a node must: {reason}") from problem


def _acknowledge(message: Any) -> None:
    if not message.acknowledged:
        message.ack()


def _check_on_rabbitmq(connection: Any, names: Collection[str]) -> str:
    present = [name for name in names if _exists(connection, name)]
    for name in present:
        # A channel of its own, because a refusal closes it.
        channel = connection.channel()
        try:
            make_queue(name).bind(channel).queue_declare()
        except connection.channel_errors as refusal:
            raise StartError(_DIFFERENT.format(name=name, reason=_reason(refusal))) from refusal
        finally:
            _close(connection, channel)
    return f"{len(present)} of {len(names)} exist, with priorities (x-max-priority {priority.LAST})"


def _exists(connection: Any, name: str) -> bool:
    channel = connection.channel()
    try:
        channel.queue_declare(name, passive=True)
    except connection.channel_errors:
        return False
    finally:
        _close(connection, channel)
    return True


def _close(connection: Any, channel: Any) -> None:
    with suppress(*connection.channel_errors, *connection.connection_errors):
        channel.close()


def _reason(refusal: Exception) -> str:
    return str(getattr(refusal, "reply_text", None) or refusal).removeprefix("PRECONDITION_FAILED - ")


def _check_on_redis(connection: Any, names: Collection[str]) -> str:
    steps = [priority.to_redis(each) for each in range(priority.FIRST, priority.LAST + 1)]
    lists = [f"{name}{_SEPARATOR}{step}" if step else name for name in names for step in steps]
    with connection.default_channel.conn_or_acquire() as client:
        types = [client.type(name).decode() for name in lists]
    for name, type_ in zip(lists, types, strict=True):
        if type_ not in ("list", "none"):
            raise StartError(
                f"Redis holds a {type_} under the key of the queue {name.partition(_SEPARATOR)[0]!r}: name a numbered "
                "database in BROKER_URL that nothing else uses, such as redis://host:6379/1."
            )
    return f"{len(names)}, each with {len(steps)} steps of priority, {steps[0]} (first) to {steps[-1]}"
