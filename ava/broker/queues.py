"""Check the broker's queues: priorities, and whether this user has the rights that a node needs."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any
from uuid import uuid4

from ava.broker import connectivity
from ava.broker.celery_app import make_app, make_queue
from ava.domain.jobs import priority
from ava.errors import StartError
from ava.settings import Settings

#: Separator of queue name and priority in the name of a Redis list (`kombu.transport.redis`, "sep").
_SEPARATOR = "\x06\x16"
#: Timeout in seconds for RabbitMQ's reply about one queue. After the death of a cluster node, a reply takes a minute.
_ANSWER_SECONDS = 3
#: Timeout in seconds for one message to arrive in an empty queue.
_CONSUME_SECONDS = 5.0
_NOT_FOUND, _PRECONDITION_FAILED = 404, 406
_DIFFERENT = (
    "the queue {name!r} of RabbitMQ differs from our declaration ({reason}), so it has no priorities and no node "
    "can consume it. Stop the other program that declares it, then run `rabbitmqctl delete_queue {name}`: our "
    "processes declare it again, and the dispatcher republishes its messages."
)
_REFUSED = (
    "RabbitMQ refuses the queue {name!r} ({reason}). Its jobs wait, all other queues continue, and every few "
    "seconds a process tries it again. If its cluster node is down, start that node, or run `rabbitmqctl "
    "forget_cluster_node`."
)


def check(settings: Settings, names: Collection[str]) -> str:
    """Check these queues without creating any. Returns one line of description.

    Raises `StartError` with the remedy if a queue differs from our declaration or the broker is unreachable.
    """
    check_on = _check_on_redis if settings.broker_is_redis else _check_on_rabbitmq
    with connectivity.make_connection(settings) as connection:
        try:
            connection.ensure_connection(max_retries=len(connection.alt) or 1, interval_start=0.1, timeout=5)
            return check_on(connection, sorted(names), settings.rabbitmq_queue_type)
        except StartError:
            raise
        except Exception as problem:
            reason = connectivity.explain(problem)
            raise StartError(f"the broker's queues cannot be checked: {reason}") from problem


def try_out(settings: Settings) -> None:
    """Declare a temporary queue as a node does, publish and consume one message, and delete the queue.

    Raises `StartError` with the broker's reason if any step is refused.
    """
    queue = make_queue(
        f"ava.doctor.{uuid4().hex}", no_ack=settings.broker_is_redis, queue_type=settings.rabbitmq_queue_type
    )
    # RabbitMQ deletes the queue if this process cannot.
    queue.expires = 60
    step = "connect to it"
    with make_app(settings, consumes=True).connection_for_read() as connection:
        try:
            connection.ensure_connection(max_retries=len(connection.alt) or 1, interval_start=0.1, timeout=5)
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
                # On RabbitMQ a refusal closes the channel, so use a new one. On Redis the queue is deleted with its
                # messages.
                bound = queue.bind(connection.channel())
                bound.purge()
                bound.delete()
        except Exception as problem:
            reason = connectivity.explain(problem)
            raise StartError(f"this user of BROKER_URL cannot {step}, as a node must: {reason}") from problem


def _acknowledge(message: Any) -> None:
    if not message.acknowledged:
        message.ack()


def find_foreign_key(channel: Any, name: str) -> Exception | None:
    """Return Redis's refusal if a key of the queue does not hold a list; otherwise None.

    `channel`: a channel of kombu's Redis transport.
    """
    with channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipeline:
        lists = _lists(name)
        for key in lists:
            pipeline.type(key)
        types = [type_.decode() for type_ in pipeline.execute()]
    for key, type_ in zip(lists, types, strict=True):
        if type_ not in ("list", "none"):
            return channel.ResponseError(f"WRONGTYPE Redis holds a {type_} under the key {key!r}")  # type: ignore[no-any-return]
    return None


def _check_on_rabbitmq(connection: Any, names: Collection[str], queue_type: str) -> str:
    present, problems = 0, []
    connection.transport_options.update(read_timeout=_ANSWER_SECONDS)
    connection.collect()
    for name in names:
        # Use one channel per queue, because a refusal closes it.
        channel = connection.channel()
        try:
            if _exists(channel, name):
                present += 1
                make_queue(name, queue_type=queue_type).bind(channel).queue_declare()
        except connection.channel_errors as refusal:
            problems.append(_describe(name, refusal))
        except TimeoutError:
            problems.append(_REFUSED.format(name=name, reason=f"it gives no answer within {_ANSWER_SECONDS} s"))
            connection.collect()
        finally:
            _close(connection, channel)
    if problems:
        raise StartError(" ".join(problems))
    return f"{present} of {len(names)} exist, with priorities (x-max-priority {priority.LAST})"


def _exists(channel: Any, name: str) -> bool:
    try:
        channel.queue_declare(name, passive=True)
    except channel.connection.channel_errors as refusal:
        # RabbitMQ uses the same code if the queue's cluster node is down.
        if refusal.reply_code != _NOT_FOUND or "no queue" not in refusal.reply_text:
            raise
        return False
    return True


def _describe(name: str, refusal: Any) -> str:
    if refusal.reply_code == _PRECONDITION_FAILED:
        return _DIFFERENT.format(name=name, reason=_reason(refusal))
    return _REFUSED.format(name=name, reason=_reason(refusal))


def _close(connection: Any, channel: Any) -> None:
    with suppress(*connection.channel_errors, *connection.connection_errors):
        channel.close()


def _reason(refusal: Exception) -> str:
    return str(getattr(refusal, "reply_text", None) or refusal).removeprefix("PRECONDITION_FAILED - ")


def _check_on_redis(connection: Any, names: Collection[str], _queue_type: str) -> str:
    for name in names:
        if (refusal := find_foreign_key(connection.default_channel, name)) is not None:
            raise StartError(
                f"the queue {name!r} is refused ({refusal}): set BROKER_URL to a numbered database that nothing else "
                "uses, such as redis://host:6379/1."
            )
    steps = _steps()
    return f"{len(names)}, each with {len(steps)} steps of priority, {steps[0]} (first) to {steps[-1]}"


def _steps() -> list[int]:
    return [priority.to_redis(each) for each in range(priority.FIRST, priority.LAST + 1)]


def _lists(name: str) -> list[str]:
    return [f"{name}{_SEPARATOR}{step}" if step else name for step in _steps()]
