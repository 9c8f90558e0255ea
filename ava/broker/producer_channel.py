"""The objects that one connection to the broker reuses, so that publishing a message costs no set-up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ProducerChannel:
    """A producer on one channel, and the names of the queues declared there."""

    channel: Any
    producer: Any
    declared: set[str] = field(default_factory=set)

    def send(self, task: str, task_id: str, arguments: Sequence[object], queue_name: str, **options: Any) -> None:
        """Publish a Celery task message to a queue. The broker keeps it in memory only.

        Its headers are the two that Celery needs. Encoding and decoding the twenty that Celery writes takes as long as
        the rest of a message does, in every process that it passes.
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
        """Returns the queue, once, to be declared with the first message to it; afterwards an empty list."""
        if queue.name in self.declared:
            return []
        self.declared.add(queue.name)
        return [queue]


def producer_channel_of(connection: Any) -> ProducerChannel:
    """Returns the producer channel of a pooled connection, a new one if the connection was re-established."""
    channel = connection.default_channel
    current: ProducerChannel | None = getattr(connection, "ava_producer_channel", None)
    if current is None or current.channel is not channel:
        producer = connection.Producer(channel, auto_declare=False)
        current = connection.ava_producer_channel = ProducerChannel(channel, producer)
        _reuse_client(channel)
        _limit_waits(connection)
    return current


def _limit_waits(connection: Any) -> None:
    """Limit each wait for RabbitMQ's answer to the transport's `read_timeout`.

    py-amqp sets that one with SO_RCVTIMEO, which has no effect on gevent's sockets.
    """
    sock = getattr(getattr(connection._connection, "transport", None), "sock", None)
    if sock is not None:
        sock.settimeout(connection.transport_options["read_timeout"])


def _reuse_client(channel: Any) -> None:
    """Make a channel of kombu's Redis transport reuse one client, which no other thread uses meanwhile.

    By default kombu makes a new client for each message, which takes longer than the message.
    """
    if not hasattr(channel, "conn_or_acquire"):
        return
    own_client = channel.Client(connection_pool=channel.pool, single_connection_client=True)

    @contextmanager
    def conn_or_acquire(client: Any = None) -> Iterator[Any]:
        yield client or own_client

    channel.conn_or_acquire = conn_or_acquire
