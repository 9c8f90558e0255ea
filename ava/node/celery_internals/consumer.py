"""Celery's consumer, changed to reconnect soon after an outage of the broker and to record that its event loop runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from celery import bootsteps
from celery.events.dispatcher import EventDispatcher
from celery.worker.consumer import Consumer
from celery.worker.control import control_command
from celery.worker.state import maybe_shutdown

from ava.broker import connectivity
from ava.broker.control import RELEASE_RUNS
from ava.broker.untrusted_messages import DROPPED
from ava.domain.jobs.messages import is_signed
from ava.node.celery_internals import inbound_messages
from ava.node.celery_internals.job_request import JobRequest
from ava.node.celery_internals.pool import CHECK_SECONDS, PoolLeaks
from ava.node.celery_internals.queue_consumer import POLL_SECONDS
from ava.node.celery_internals.redis_lists import RedisLists
from ava.node.parent import loop_liveness

_log = logging.getLogger(__name__)

#: Seconds between attempts to reach the broker; Celery's default grows to half a minute.
_RETRY_PAUSES = {"interval_start": 0.2, "interval_step": 0.2, "interval_max": 1.0}
_LIVENESS_SECONDS = 1.0
#: Seconds between checks for dead children. Celery checks when a child's pipe closes, possibly before the kernel
#: reports the exit, and otherwise only every five seconds.
_MAINTAIN_SECONDS = 0.2
#: Maximum seconds that an event waits in a batch.
_FLUSH_SECONDS = 0.25
_MAX_WAITING_EVENTS = 500


class JobConsumer(Consumer):  # type: ignore[misc]  # Celery has no annotations
    """Consumes the queues in a node's parent; `celery_config.py` names it."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]  # Celery has no annotations
        """Celery's steps without the one that quorum queues add for delayed messages, which this service never
        publishes.
        """

        default_steps: ClassVar[list[str]] = [
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step
        ]

    message_keys: ClassVar[tuple[bytes, ...]] = ()
    broker_connection_retry_attempt: int

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Return the function that receives each message: Celery's own, for messages that pass `inbound.admit`."""
        take = super().create_task_handler(*args, **kwargs)

        def take_if_ours(message: Any) -> None:
            try:
                inbound_messages.admit(message, self.message_keys)
            except inbound_messages.MessageRefused as refusal:
                self._drop(message, str(refusal))
            else:
                take(message)

        return take_if_ours

    def on_decode_error(self, message: Any, exc: Exception) -> None:  # noqa: ARG002 - Celery passes the error
        self._drop(message, "unreadable")

    def _drop(self, message: Any, reason: str) -> None:
        DROPPED.drop(reason)
        if not JobRequest.is_acknowledged_on_arrival:
            message.ack_log_error(_log, self.connection_errors)

    def connect(self) -> Any:
        """Connect for consuming. Raises `StartError` if no node can consume this kind of broker."""
        connection = super().connect()
        default = self.app.conf.task_queues[0]
        connectivity.require_usable(connection, queue_type=default.queue_arguments["x-queue-type"])
        return connection

    def ensure_connected(self, conn: Any) -> Any:
        loop_liveness.record_attempt()
        conn.ensure_connection(self._on_unreachable, None, callback=_on_wait, **_RETRY_PAUSES)
        if self.broker_connection_retry_attempt:
            _log.warning("The broker is back.")
        self.first_connection_attempt = False
        self.broker_connection_retry_attempt = 0
        return conn

    def _on_unreachable(self, error: Exception, _interval: float) -> None:
        loop_liveness.record_attempt()
        if not self.broker_connection_retry_attempt:
            _log.warning("The broker is unreachable, will retry: %s", connectivity.explain(error))
        self.broker_connection_retry_attempt += 1

    def register_with_event_loop(self, hub: Any) -> None:
        """Register when the event loop starts, for the first time or with a new connection."""
        super().register_with_event_loop(hub)
        loop_liveness.record_turn()
        hub.call_repeatedly(_LIVENESS_SECONDS, loop_liveness.record_turn)
        hub.call_repeatedly(_MAINTAIN_SECONDS, self.pool.maintain_pool)
        if self.connection.transport.driver_type == "redis":
            RedisLists(self.task_consumer.channel, self.task_consumer)
        hub.call_repeatedly(POLL_SECONDS, self.task_consumer.follow_intake)
        hub.call_repeatedly(POLL_SECONDS, self.task_consumer.retry)
        if self.app.conf.worker_pool.endswith(":JobPool"):
            hub.call_repeatedly(CHECK_SECONDS, PoolLeaks(self.pool._pool).check)

    def cancel_active_requests(self) -> None:
        """Kill all runs at a cold shutdown. Celery would wait for the ends of acknowledged messages."""
        JobRequest.run_monitor.abandon()

    def on_close(self) -> None:
        """Forget the messages that no child has received, because the connection was lost."""
        if self.app.conf.worker_pool == "prefork":
            # Celery's own pool would also forget jobs that a child has taken but not yet reported. All other messages
            # are redelivered or republished, and the claim drops duplicates.
            self.pool.flush = None
        super().on_close()


def _on_wait() -> None:
    loop_liveness.record_attempt()
    maybe_shutdown()


@control_command(name=RELEASE_RUNS, args=[("task_ids", list)], signature="<task ids>")  # type: ignore[untyped-decorator]
def _release_runs(state: Any, task_ids: Sequence[str], signature: object = None) -> None:
    keys = JobConsumer.message_keys
    if keys and not is_signed(keys, signature, RELEASE_RUNS, state.hostname, *task_ids):
        DROPPED.drop("unsigned")
        return
    JobRequest.run_monitor.release_runs(task_ids)


class SendOnce(EventDispatcher):  # type: ignore[misc]  # Celery has no annotations
    """Sends each event once: Celery would retry heartbeats endlessly, in the event loop, while the broker is
    unreachable.
    """

    def send(self, type: str, **fields: Any) -> Any:
        return super().send(type, **fields | {"retry": False})


class EventBatching(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no annotations
    """Batches a node's task events; Celery would send them in each iteration of its event loop."""

    requires = ("celery.worker.consumer:Events",)

    def start(self, consumer: Any) -> None:
        """Set up the event dispatcher after each connect."""
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
