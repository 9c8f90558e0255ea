"""The webhooks' queue: a message there says that something is to be sent; what, is in PostgreSQL.

The dispatcher rings, and of the senders that listen one hears it. A ring that is lost costs no webhook, only the time
until a sender looks for itself.
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

from ava.broker.app import make_queue
from ava.broker.producer_channel import producer_channel_of
from ava.domain.messages import WEBHOOKS_QUEUE, WEBHOOKS_TASK

__all__ = ["WakeUpListener", "wake_one_sender"]

_log = logging.getLogger(__name__)

#: Seconds between two attempts to reach a broker that is away.
_PAUSE_SECONDS = 1.0


def wake_one_sender(app: Celery, connection: Any) -> bool:
    """Have one sender hear that there is something to send; whether none had been told already, and was still to come.

    Raises the transport's errors.
    """
    producer = producer_channel_of(connection)
    queue = make_queue(WEBHOOKS_QUEUE).bind(producer.channel)
    # However long nobody listens, one message waits.
    if queue.queue_declare().message_count:
        return False
    producer.send(app.amqp.as_task_v2(uuid(), WEBHOOKS_TASK, args=(), kwargs={}, ignore_result=True), WEBHOOKS_QUEUE)
    return True


class WakeUpListener(ConsumerMixin):  # type: ignore[misc]  # kombu has no annotations
    """Listens on the webhooks' queue, whatever becomes of the broker."""

    def __init__(self, app: Celery, heard: Callable[[], None]) -> None:
        self.connection = app.connection_for_read()
        self._heard = heard
        self._is_away = False

    def listen(self) -> None:
        """Call `heard` for each ring, until `should_stop` is set or its greenlet is killed."""
        while not self.should_stop:
            try:
                for _ in self.consume():
                    pass
            except (*self.connection_errors, *self.channel_errors) as error:
                self.on_connection_error(error, _PAUSE_SECONDS)
            except Exception:
                # On Redis, what somebody put there who is no client of kombu's.
                _log.exception("The webhooks' queue held what is no message.")
            time.sleep(_PAUSE_SECONDS)

    def get_consumers(self, Consumer: Callable[..., Any], _channel: Any) -> list[Any]:
        """Hear messages without a look into them; what is heard is gone from the broker."""
        queue = make_queue(WEBHOOKS_QUEUE, no_ack=True)
        return [Consumer(queues=[queue], on_message=lambda _: self._heard(), no_ack=True)]

    @contextmanager
    def establish_connection(self) -> Iterator[Any]:
        """Connect, trying again every second."""
        with self.create_connection() as connection:
            connection.ensure_connection(
                self.on_connection_error, interval_start=_PAUSE_SECONDS, interval_step=0, interval_max=_PAUSE_SECONDS
            )
            yield connection

    def on_connection_error(self, exc: Exception, _interval: float) -> None:
        """Say so, once."""
        if not self._is_away:
            _log.warning("The webhooks' queue is out of reach, so this sender looks for itself: %s", exc)
        self._is_away = True

    def on_connection_revived(self) -> None:
        """Say that it is back, where it was said that it was not."""
        if self._is_away:
            _log.warning("The webhooks' queue is back.")
        self._is_away = False
