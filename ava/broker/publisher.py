"""Publishing jobs: one message a job, holding its id, the number of the run that it may start, and its worker's id."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from celery import Celery
from kombu import Queue

from ava import tracing
from ava.broker import connectivity, reset_marker, webhook_wakeup
from ava.broker.app import make_queue
from ava.broker.producer_channel import ProducerChannel, producer_channel_of
from ava.domain import priority
from ava.domain.job import Job
from ava.domain.messages import TASK, task_id
from ava.errors import BrokerUnavailable
from ava.settings import Settings
from ava.tracing import Kind

__all__ = ["Publisher"]

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Messages that go out together.
_BATCH = 500
#: A connection that fails so soon was one that had ended meanwhile: a new one is tried at once. Later is an outage.
_SOON_SECONDS = 0.25


class Publisher:
    """One process's way to the broker, with a breaker: while the broker is away, callers hear so at once.

    After a failure nobody's request tries again; a thread does, and closes the breaker when the broker answers.
    """

    #: Seconds between two attempts of that thread.
    probe_seconds = 0.5

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._is_redis = settings.broker_is_redis
        self._to_broker = priority.to_redis if self._is_redis else priority.to_rabbitmq
        self._queues: dict[str, Queue] = {}
        self._lock = threading.Lock()
        self._is_broken = False
        self._is_closed = False

    def publish(self, jobs: Iterable[Job]) -> None:
        """Publish a message for each job, in order, without waiting for the broker after each.

        Raises `BrokerUnavailable` where the broker cannot be reached; some of the messages may be out by then, which
        is harmless, since hearing one twice is.
        """
        waiting = list(jobs)
        if waiting:
            with tracing.of_jobs("publish", Kind.PRODUCER, waiting):
                self._publish(waiting)

    def _publish(self, jobs: Sequence[Job]) -> None:
        began = time.monotonic()
        try:
            self._attempt(lambda connection: self._send_all(connection, jobs))
        except BrokerUnavailable as error:
            if self._is_broken or time.monotonic() - began > _SOON_SECONDS:
                self._break(error)
                raise
            self._attempt_or_break(lambda connection: self._send_all(connection, jobs))

    def _attempt_or_break(self, act: Callable[[Any], Result]) -> Result:
        try:
            return self._attempt(act)
        except BrokerUnavailable as error:
            self._break(error)
            raise

    def _attempt(self, act: Callable[[Any], Result]) -> Result:
        """Do something over a connection. Raises `BrokerUnavailable`."""
        if self._is_broken:
            raise BrokerUnavailable
        # Each transport raises errors of its own, with no common class; and a publish must never fail otherwise.
        try:
            with self._app.pool.acquire(block=True, timeout=2) as connection:
                try:
                    connectivity.raise_if_closed(connection)
                    return act(connection)
                except Exception:
                    connection.collect()
                    raise
        except Exception as error:
            raise BrokerUnavailable from error

    def _send_all(self, connection: Any, jobs: Sequence[Job]) -> None:
        producer = producer_channel_of(connection)
        for start in range(0, len(jobs), _BATCH):
            batch = jobs[start : start + _BATCH]
            if len(batch) == 1:
                self._send(producer, batch[0])
            else:
                self._send_batch(producer, batch)

    def _send_batch(self, producer: ProducerChannel, jobs: Sequence[Job]) -> None:
        if self._is_redis:
            with producer.producer.batch(max_size=_BATCH):
                for job in jobs:
                    self._send(producer, job)
            return
        for job in jobs:
            self._send(producer, job)
        # RabbitMQ does what a channel says in its order: who hears an answer to this knows that it has the messages.
        for queue in {job.queue for job in jobs}:
            self._queue(queue).bind(producer.channel).queue_declare(passive=True)

    def _send(self, producer: ProducerChannel, job: Job) -> None:
        run_no = job.run_no + 1
        message = self._app.amqp.as_task_v2(
            task_id(job.id, run_no),
            TASK,
            args=(job.id, run_no, job.worker_id),
            kwargs={},
            argsrepr=f"({job.id!r}, {run_no}, {job.worker_id!r})",
            kwargsrepr="{}",
            ignore_result=True,
        )
        declare = producer.to_declare(self._queue(job.queue))
        producer.send(message, job.queue, priority=self._to_broker(job.priority), declare=declare)

    def _queue(self, name: str) -> Queue:
        if name not in self._queues:
            self._queues[name] = make_queue(name)
        return self._queues[name]

    # The breaker ---------------------------------------------------------------------------------------------------

    def _break(self, error: BaseException) -> None:
        with self._lock:
            if self._is_broken or self._is_closed:
                return
            self._is_broken = True
        _log.warning("The broker is out of reach: %s", error.__cause__ or error)
        threading.Thread(target=self._probe, name="ava-broker-probe", daemon=True).start()

    def _probe(self) -> None:
        while not self._is_closed:
            time.sleep(self.probe_seconds)
            if connectivity.ping(self._app):
                _log.warning("The broker is back.")
                self._is_broken = False
                return

    def was_reset(self) -> bool:
        """Whether the broker has lost its messages since this was last asked: it was emptied, or is another.

        Raises `BrokerUnavailable`.
        """
        return self._attempt_or_break(
            lambda connection: reset_marker.set_if_absent(connection, is_redis=self._is_redis)
        )

    def wake_one_sender(self) -> bool:
        """Have a sender of webhooks look for what is to be sent; False where one is still to hear of the last time.

        Raises `BrokerUnavailable`.
        """
        return self._attempt_or_break(lambda connection: webhook_wakeup.wake_one_sender(self._app, connection))

    def close(self) -> None:
        """Close every connection to the broker."""
        self._is_closed = True
        self._app.pool.force_close_all()
