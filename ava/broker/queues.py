"""Whether the broker's queues are such that priorities hold: whoever declared one first has decided that."""

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

#: What stands between a queue's name and a priority in the name of a list (kombu, `kombu.transport.redis`, "sep").
_SEPARATOR = "\x06\x16"
_DIFFERENT = (
    "the queue {name!r} of RabbitMQ is not as we declare it ({reason}), so it holds no priorities and no node can "
    "hear it. End what else declares it, then `rabbitmqctl delete_queue {name}`: our processes make it anew, and the "
    "dispatcher publishes again what was in it."
)


def check(settings: Settings, names: Collection[str]) -> str:
    """Look at these queues; what there is to say of them. None is made that was not there.

    Raises `StartError`, which says what to do, where one is not as we declare it or the broker is out of reach.
    """
    look = _look_on_redis if settings.broker_is_redis else _look_on_rabbitmq
    with Connection(settings.broker_url, connect_timeout=3) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=5)
            return look(connection, sorted(names))
        except StartError:
            raise
        except Exception as problem:
            reason = str(problem.__cause__ or problem).strip() or type(problem).__name__
            raise StartError(f"the broker's queues cannot be looked at: {reason}") from problem


def _look_on_rabbitmq(connection: Any, names: Collection[str]) -> str:
    present = [name for name in names if _is_there(connection, name)]
    for name in present:
        # A channel of its own, for it ends with the refusal.
        channel = connection.channel()
        try:
            make_queue(name).bind(channel).queue_declare()
        except connection.channel_errors as refusal:
            raise StartError(_DIFFERENT.format(name=name, reason=_reason(refusal))) from refusal
        finally:
            _close(connection, channel)
    return f"{len(present)} of {len(names)} are there, with priorities (x-max-priority {priority.LAST})"


def _is_there(connection: Any, name: str) -> bool:
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


def _look_on_redis(connection: Any, names: Collection[str]) -> str:
    steps = [priority.to_redis(each) for each in range(priority.FIRST, priority.LAST + 1)]
    lists = [f"{name}{_SEPARATOR}{step}" if step else name for name in names for step in steps]
    with connection.default_channel.conn_or_acquire() as client:
        kinds = [client.type(name).decode() for name in lists]
    for name, kind in zip(lists, kinds, strict=True):
        if kind not in ("list", "none"):
            raise StartError(
                f"Redis holds a {kind} where the messages of the queue {name.partition(_SEPARATOR)[0]!r} belong: give "
                "us a numbered database of our own in BROKER_URL, as in redis://host:6379/1."
            )
    return f"{len(names)}, each with {len(steps)} steps of priority, {steps[0]} (first) to {steps[-1]}"
