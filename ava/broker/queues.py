"""Checks that the broker's queues support priorities, which their first declaration decides."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any

from kombu import Connection

from ava.broker.app import make_queue
from ava.domain import priority
from ava.errors import StartError
from ava.settings import Settings

__all__ = ["check"]

#: Separates the queue's name from the priority in the name of a Redis list (`kombu.transport.redis`, "sep").
_SEPARATOR = "\x06\x16"
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
    with Connection(settings.broker_url, connect_timeout=3) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=5)
            return check_on(connection, sorted(names))
        except StartError:
            raise
        except Exception as problem:
            reason = str(problem.__cause__ or problem).strip() or type(problem).__name__
            raise StartError(f"the broker's queues cannot be checked: {reason}") from problem


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
