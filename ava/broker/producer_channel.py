"""Objects reused per broker connection, so that publishing a message needs no setup."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ProducerChannel:
    channel: Any
    producer: Any
    declared: set[str] = field(default_factory=set)

    def send(self, task: str, task_id: str, arguments: Sequence[object], queue_name: str, **options: Any) -> None:
        """Publish a Celery task message to a queue. The broker keeps it in memory only.

        With only the two headers that Celery requires: coding its full set of twenty takes as long as the rest of the
        message, in every process on the way.
        """
        headers = {"task": task, "id": task_id, **options.pop("headers", {})}
        self.producer.publish(
            json.dumps([arguments, {}, {}]),
            content_type="application/json",
            content_encoding="utf-8",
            headers=headers,
            exchange="",
            routing_key=queue_name,
            delivery_mode="transient",
            **options,
        )

    def undeclared(self, queue: Any) -> list[Any]:
        """Return the queue for declaration with its first message; afterwards an empty list."""
        if queue.name in self.declared:
            return []
        self.declared.add(queue.name)
        return [queue]


def producer_channel_of(connection: Any) -> ProducerChannel:
    """Return the producer channel of a pooled connection; a new one if the connection was re-established."""
    channel = connection.default_channel
    current: ProducerChannel | None = getattr(connection, "ava_producer_channel", None)
    if current is None or current.channel is not channel:
        producer = connection.Producer(channel, auto_declare=False)
        current = connection.ava_producer_channel = ProducerChannel(channel, producer)
        _reuse_client(channel)
        _limit_waits(connection)
    return current


def _limit_waits(connection: Any) -> None:
    """Limit each wait for RabbitMQ's reply to the transport's `read_timeout`.

    py-amqp sets that timeout with SO_RCVTIMEO, which has no effect on gevent's sockets.
    """
    sock = getattr(getattr(connection._connection, "transport", None), "sock", None)
    if sock is not None:
        sock.settimeout(connection.transport_options["read_timeout"])


def _reuse_client(channel: Any) -> None:
    """Make a channel of kombu's Redis transport reuse one client. No other thread uses the channel.

    kombu creates a client per message, which takes longer than the message.
    """
    if not hasattr(channel, "conn_or_acquire"):
        return
    own_client = channel.Client(connection_pool=channel.pool, single_connection_client=True)

    @contextmanager
    def conn_or_acquire(client: Any = None) -> Iterator[Any]:
        yield client or own_client

    channel.conn_or_acquire = conn_or_acquire
