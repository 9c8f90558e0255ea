"""What is kept of one connection to the broker, so that a message costs no more than its sending."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ProducerChannel", "producer_channel_of"]


@dataclass
class ProducerChannel:
    """A producer on one channel, and the queues that have been declared there."""

    channel: Any
    producer: Any
    declared: set[str] = field(default_factory=set)

    def send(self, message: Any, queue_name: str, **options: Any) -> None:
        """Publish one of Celery's task messages to a queue; the broker keeps it in memory alone."""
        self.producer.publish(
            message.body,
            serializer="json",
            headers=message.headers,
            exchange="",
            routing_key=queue_name,
            delivery_mode="transient",
            correlation_id=message.properties["correlation_id"],
            **options,
        )

    def to_declare(self, queue: Any) -> list[Any]:
        """The queue, where it is still to be declared with the message that goes to it."""
        if queue.name in self.declared:
            return []
        self.declared.add(queue.name)
        return [queue]


def producer_channel_of(connection: Any) -> ProducerChannel:
    """The kept of a pooled connection; a new one where its channel is new, for it was connected again."""
    channel = connection.default_channel
    kept = getattr(connection, "ava_producer_channel", None)
    if kept is None or kept.channel is not channel:
        kept = connection.ava_producer_channel = ProducerChannel(
            channel, connection.Producer(channel, auto_declare=False)
        )
        _keep_client(channel)
    return kept


def _keep_client(channel: Any) -> None:
    """Have a channel of kombu's Redis transport keep one client and its connection, as nobody else uses them meanwhile.

    It makes a new client for each message, which takes longer than the message does.
    """
    if not hasattr(channel, "conn_or_acquire"):
        return
    kept = channel.Client(connection_pool=channel.pool, single_connection_client=True)

    @contextmanager
    def conn_or_acquire(client: Any = None) -> Iterator[Any]:
        yield client or kept

    channel.conn_or_acquire = conn_or_acquire
