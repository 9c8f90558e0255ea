"""Try whether the broker accepts queues, exactly as a node declares and consumes them.

On RabbitMQ a refusal closes the channel, and operations on the queues of a killed cluster node get a reply only after a
minute. So trials use separate connections, and a timeout counts as a refusal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from kombu import Queue

from ava.broker import queues
from ava.broker.refused_queues import is_of_queue

#: Timeout in seconds of one queue's trial. A declaration in a cluster takes some hundredths.
_ANSWER_SECONDS = 2
#: Connections for the remaining queues after a first timeout.
_CONNECTIONS = 16


def try_queues(channel: Any, tried: Collection[Queue], *, is_consumed: bool) -> Mapping[str, Exception | None]:
    """Declare queues. Returns the broker's refusal by queue name, None if a queue is accepted.

    `channel`: any open one. `is_consumed`: also consume the queues; a received message returns to its queue. Raises the
    transport's error if the broker is unreachable.
    """
    connection = channel.connection.client
    if connection.transport.driver_type == "redis":
        return {queue.name: queues.find_foreign_key(channel, queue.name) for queue in tried}
    found: dict[str, Exception | None] = {}
    waiting = list(tried)
    while waiting and not any(isinstance(refusal, TimeoutError) for refusal in found.values()):
        found |= _try_over_one(connection, waiting, is_consumed=is_consumed)
        waiting = [queue for queue in waiting if queue.name not in found]
    if waiting:
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            for each in pool.map(lambda queue: _try_over_one(connection, [queue], is_consumed=is_consumed), waiting):
                found |= each
    return found


def _try_over_one(connection: Any, tried: Collection[Queue], *, is_consumed: bool) -> dict[str, Exception | None]:
    """Try queues over a separate connection, up to the first refusal."""
    options = {**connection.transport_options, "read_timeout": _ANSWER_SECONDS, "write_timeout": _ANSWER_SECONDS}
    found: dict[str, Exception | None] = {}
    own = connection.clone(transport_options=options, heartbeat=0)
    try:
        own.connect()
        channel = own.channel()
        for queue in tried:
            found[queue.name] = refusal = _try(channel, queue, own.channel_errors, is_consumed=is_consumed)
            if refusal is not None:
                break
    finally:
        # A received message returns to its queue. An unresponsive queue would delay an orderly close.
        with suppress(Exception):
            own.collect() if any(found.values()) else own.release()
    return found


def _try(channel: Any, queue: Queue, errors: tuple[type[Exception], ...], *, is_consumed: bool) -> Exception | None:
    bound = queue(channel)
    try:
        bound.declare()
        if is_consumed:
            # Per consumer, because RabbitMQ 4.3 refuses a limit per channel.
            channel.basic_qos(0, 1, False)
            bound.consume(f"trial.{queue.name}", no_ack=False, callback=lambda _message: None)
    except TimeoutError:
        return TimeoutError(f"no answer within {_ANSWER_SECONDS} s; its cluster node may be down")
    except errors as error:
        if not is_of_queue(error):
            raise
        return error
    return None
