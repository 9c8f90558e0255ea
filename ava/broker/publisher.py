"""Publishing jobs: one message a job, holding its id, the number of the run that it may start, and its worker's id."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from ava.broker.app import make_queue
from ava.broker.names import TASK, task_id
from ava.domain import priority
from ava.domain.job import Job
from ava.errors import BrokerUnavailable
from ava.settings import Settings

__all__ = ["Publisher"]

#: One new connection at once, for one that the broker has dropped meanwhile; whatever lasts longer is an outage.
_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0}


class Publisher:
    """One process's way to the broker, with a breaker: while the broker is away, callers hear so at once."""

    #: Seconds for which nobody tries again after a failure.
    breaker_seconds = 1.0

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._to_broker = priority.to_redis if settings.broker_is_redis else priority.to_rabbitmq
        self._queues: dict[str, Queue] = {}
        self._broken_until = 0.0

    def publish(self, jobs: Iterable[Job]) -> None:
        """Publish a message for each job, in order.

        Raises `BrokerUnavailable` where the broker cannot be reached; some of the messages may be out by then, which
        is harmless, since hearing one twice is.
        """
        if time.monotonic() < self._broken_until:
            raise BrokerUnavailable
        try:
            with self._app.producer_pool.acquire(block=True, timeout=5) as producer:
                for job in jobs:
                    self._send(producer, job)
        except (OSError, OperationalError, *self._app.pool.connection.recoverable_connection_errors) as error:
            self._broken_until = time.monotonic() + self.breaker_seconds
            raise BrokerUnavailable from error

    def _send(self, producer: Any, job: Job) -> None:
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
        producer.publish(
            message.body,
            serializer="json",
            headers=message.headers,
            exchange="",
            routing_key=job.queue,
            priority=self._to_broker(job.priority),
            delivery_mode="transient",
            declare=[self._queue(job.queue)],
            retry=True,
            retry_policy=_RETRY_POLICY,
            correlation_id=message.properties["correlation_id"],
        )

    def _queue(self, name: str) -> Queue:
        if name not in self._queues:
            self._queues[name] = make_queue(name)
        return self._queues[name]

    def close(self) -> None:
        """Close every connection to the broker."""
        self._app.pool.force_close_all()
