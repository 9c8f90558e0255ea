"""Wake-ups of webhook senders: a message in a queue of its own says that PostgreSQL holds something to send.

The dispatcher queues a wake-up, and one of the senders consumes it. A lost wake-up loses no webhook; it only delays it
until a sender polls the database.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from celery.utils import uuid
from kombu.mixins import ConsumerMixin

from ava.broker import compression
from ava.broker.app import make_queue
from ava.broker.connectivity import explain
from ava.broker.dropped import DROPPED
from ava.broker.producer_channel import producer_channel_of
from ava.domain.messages import WEBHOOKS_QUEUE, WEBHOOKS_TASK

__all__ = ["WakeUpListener", "wake_one_sender"]

_log = logging.getLogger(__name__)

#: Seconds between two attempts to connect to the broker.
_RECONNECT_SECONDS = 1.0


def wake_one_sender(connection: Any) -> bool:
    """Queue one wake-up unless one is pending. Returns True if it was queued. Raises the transport's errors."""
    producer = producer_channel_of(connection)
    queue = make_queue(WEBHOOKS_QUEUE).bind(producer.channel)
    # At most one message waits, however long no sender consumes.
    if queue.queue_declare().message_count:
        return False
    producer.send(WEBHOOKS_TASK, uuid(), (), WEBHOOKS_QUEUE)
    return True


class WakeUpListener(ConsumerMixin):  # type: ignore[misc]  # kombu has no annotations
    """Consumes wake-ups, and reconnects after every failure."""

    def __init__(self, app: Celery, on_wakeup: Callable[[], None]) -> None:
        compression.refuse()
        self.connection = app.connection_for_read()
        self._on_wakeup = on_wakeup
        self._is_away = False

    def listen(self) -> None:
        """Call `on_wakeup` for each wake-up until `should_stop` is set or the greenlet is killed."""
        while not self.should_stop:
            try:
                for _ in self.consume():
                    pass
            except (*self.connection_errors, *self.channel_errors) as error:
                self.on_connection_error(error, _RECONNECT_SECONDS)
            except Exception:
                _log.exception("Webhook wake-ups: failed, will retry")
            time.sleep(_RECONNECT_SECONDS)

    def get_consumers(self, Consumer: Callable[..., Any], _channel: Any) -> list[Any]:
        """Consume messages without parsing them. The broker drops each when it delivers it."""
        queue = make_queue(WEBHOOKS_QUEUE, no_ack=True)
        consumer = Consumer(queues=[queue], on_message=lambda _: self._on_wakeup(), no_ack=True)
        consumer.on_decode_error = lambda *_: DROPPED.drop("unreadable")
        return [consumer]

    @contextmanager
    def establish_connection(self) -> Iterator[Any]:
        """Connect, retrying every second."""
        with self.create_connection() as connection:
            connection.ensure_connection(
                self.on_connection_error,
                interval_start=_RECONNECT_SECONDS,
                interval_step=0,
                interval_max=_RECONNECT_SECONDS,
            )
            yield connection

    def on_connection_error(self, exc: Exception, _interval: float) -> None:
        """Log an outage once."""
        if not self._is_away:
            _log.warning("Webhook wake-ups: the queue is out of reach, polling the database instead: %s", explain(exc))
        self._is_away = True

    def on_connection_revived(self) -> None:
        """Log the end of an outage."""
        if self._is_away:
            _log.warning("Webhook wake-ups: the queue is back")
        self._is_away = False
