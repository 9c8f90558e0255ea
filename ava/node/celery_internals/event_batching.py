"""Celery's task events, for Flower and `celery events`: sent together a few times a second, not one by one."""

from __future__ import annotations

from typing import Any

from celery import bootsteps

__all__ = ["EventBatching"]

_FLUSH_SECONDS = 0.25
#: Events that are sent at once, however soon that is.
_MOST_EVENTS = 500


class EventBatching(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no annotations
    """Has the events of a node's tasks wait for each other; Celery would send them at each turn of its loop."""

    requires = ("celery.worker.consumer:Events",)

    def start(self, consumer: Any) -> None:
        """The consumer has connected, for the first time or again."""
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

        dispatcher.buffer_limit = _MOST_EVENTS
        dispatcher.on_send_buffered = wait
