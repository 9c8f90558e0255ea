"""Celery's events, for Flower and `celery events`: sent once, and task events in batches a few times per second."""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.events.dispatcher import EventDispatcher

#: Maximum wait of an event in a batch, in seconds.
_FLUSH_SECONDS = 0.25
_MAX_WAITING_EVENTS = 500


class SendOnce(EventDispatcher):  # type: ignore[misc]  # Celery has no annotations
    """Sends each event once. While the broker is unreachable, Celery would retry heartbeats endlessly, in the event
    loop.
    """

    def send(self, type: str, **fields: Any) -> Any:
        """Send an event, or buffer it until the broker is back."""
        return super().send(type, **fields | {"retry": False})


class EventBatching(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no annotations
    """Batches a node's task events; Celery would send them in each iteration of its event loop."""

    requires = ("celery.worker.consumer:Events",)

    def start(self, consumer: Any) -> None:
        """Set up the event dispatcher of a consumer that has connected or reconnected."""
        dispatcher, timer = consumer.event_dispatcher, consumer.timer
        is_waiting = False

        def flush() -> None:
            nonlocal is_waiting
            is_waiting = False
            dispatcher.flush(errors=True, groups=True)

        def wait() -> None:
            nonlocal is_waiting
            if not is_waiting:
                is_waiting = True
                timer.call_after(_FLUSH_SECONDS, flush)

        dispatcher.buffer_limit = _MAX_WAITING_EVENTS
        dispatcher.on_send_buffered = wait
