"""Celery's consumer, which here comes back soon when the broker does, and gives a sign with every turn of its loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.control import control_command
from celery.worker.state import maybe_shutdown

from ava.broker.control import RELEASE_RUNS
from ava.node.celery_internals.request import JobRequest
from ava.node.parent import loop_liveness

__all__ = ["Consumer"]

_log = logging.getLogger(__name__)

#: Seconds between two attempts to reach a broker that is away; Celery's own go up to half a minute.
_PAUSES = {"interval_start": 0.2, "interval_step": 0.2, "interval_max": 1.0}
#: Seconds between two signs of life of the loop.
_SIGN_SECONDS = 1.0


class Consumer(CeleryConsumer):  # type: ignore[misc]  # Celery has no annotations
    """What hears the queues in a node's parent; `celery_config.py` names it."""

    #: Celery's own count of failed attempts since the last connection.
    broker_connection_retry_attempt: int

    def __init__(self, on_task_request: Callable[[JobRequest], object], *args: Any, **kwargs: Any) -> None:
        def take(request: JobRequest) -> None:
            on_task_request(request)
            self._keep_away_what_waits()

        super().__init__(take, *args, **kwargs)

    def _keep_away_what_waits(self) -> None:
        # All processes are taken: this one was asked for too early.
        places = self.controller.semaphore._waiting
        if places and JobRequest.waiting:
            _, (late,), _ = places.pop()
            next(iter(JobRequest.waiting)).keep_next_away(late)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, and go on trying for as long as it takes."""
        loop_liveness.record_attempt()
        conn.ensure_connection(self._on_away, None, callback=_on_wait, **_PAUSES)
        if self.broker_connection_retry_attempt:
            _log.warning("The broker is back.")
        self.first_connection_attempt = False
        self.broker_connection_retry_attempt = 0
        return conn

    def _on_away(self, error: Exception, _interval: float) -> None:
        loop_liveness.record_attempt()
        if not self.broker_connection_retry_attempt:
            _log.warning("The broker is out of reach, and is tried again and again: %s", error)
        self.broker_connection_retry_attempt += 1

    def register_with_event_loop(self, hub: Any) -> None:
        """The loop begins, for the first time or with a new connection."""
        super().register_with_event_loop(hub)
        loop_liveness.record_turn()
        hub.call_repeatedly(_SIGN_SECONDS, loop_liveness.record_turn)


def _on_wait() -> None:
    loop_liveness.record_attempt()
    maybe_shutdown()


@control_command(name=RELEASE_RUNS, args=[("task_ids", list)], signature="<task ids>")  # type: ignore[untyped-decorator]
def _let_go(_state: Any, task_ids: Sequence[str]) -> None:
    JobRequest.run_monitor.release_runs(task_ids)
