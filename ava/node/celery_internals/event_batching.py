"""Celery's events, for Flower and `celery events`: sent once, and those of tasks in batches a few times a second."""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.events.dispatcher import EventDispatcher

#: Seconds for which an event waits for others.
_FLUSH_SECONDS = 0.25
#: Waiting events that are sent at once.
_MAX_WAITING_EVENTS = 500


class SendOnce(EventDispatcher):  # type: ignore[misc]  # Celery has no annotations
    """Sends each event once. Celery repeats a heartbeat without end, in the event loop, while the broker is away."""

    def send(self, type: str, **fields: Any) -> Any:
        """Send an event, or keep it until the broker is back."""
        return super().send(type, **fields | {"retry": False})


class EventBatching(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no annotations
    """Batches the events of a node's tasks; Celery would send them with each turn of its event loop."""

    requires = ("celery.worker.consumer:Events",)

    def start(self, consumer: Any) -> None:
        """Set up the event dispatcher of a consumer that has connected, for the first time or again."""
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
