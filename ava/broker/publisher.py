"""Publish jobs. A message names the runs that it may start, and the worker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from celery import Celery
from kombu import Queue

from ava.broker import connectivity, refused_queues, reset_marker
from ava.broker.celery_app import make_queue
from ava.broker.producer_channel import ProducerChannel, producer_channel_of
from ava.domain.jobs import priority, run_groups
from ava.domain.jobs.job import Job
from ava.domain.jobs.messages import SIGNATURE, TASK, Message, sign
from ava.domain.worker import is_pulled
from ava.errors import BrokerOfAnother, BrokerUnavailable, QueueRefused
from ava.settings import Settings
from ava.telemetry import tracing
from ava.telemetry.span import Kind

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

_BATCH = 500
#: Up to this many messages do not wait for RabbitMQ's reply, because it delays the next jobs. The dispatcher
#: republishes lost messages.
_FEW = 8
#: A publish that fails within this time met a stale connection and is retried immediately. Later failures are outages.
_STALE_SECONDS = 0.25


class Publisher:
    """Publishes the messages of one process, behind a circuit breaker.

    A failure opens the breaker: calls fail immediately until a probing thread finds the broker available. If the broker
    refuses a single queue, only that queue is skipped for some seconds.
    """

    probe_seconds = 0.5

    def __init__(self, app: Celery, settings: Settings, *, installation: str = "") -> None:
        """`installation`: written to the broker's reset marker; only `was_reset` needs it."""
        self._installation = installation
        self._app = app
        self._is_redis = settings.broker_is_redis
        self._to_broker = priority.to_redis if self._is_redis else priority.to_rabbitmq
        self._key = settings.message_keys[0] if settings.message_keys else None
        self._queue_type = settings.rabbitmq_queue_type
        self._queues: dict[str, Queue] = {}
        self._refusals = refused_queues.Refusals()
        self._lock = threading.Lock()
        self._is_breaker_open = False
        self._is_closed = False
        #: Called with False when the broker is unreachable or accepts no messages, and with True when it is back.
        self.on_reach: Callable[[bool], object] = lambda _is_reachable: None

    def publish(self, jobs: Iterable[Job], group_sizes: Mapping[str, int] = run_groups.NONE) -> None:
        """Publish messages for jobs, in order within a queue, without waiting for the broker after each.

        Pulled jobs have no messages: marking them as published offers them to claims.

        `group_sizes`: maximum jobs per message, by worker id; the default is one.

        Raises `BrokerUnavailable`, possibly after publishing some messages; duplicates are harmless. Raises
        `QueueRefused` if the broker refused queues; all other jobs are published.
        """
        waiting = [job for job in jobs if not is_pulled(job.queue)]
        if waiting:
            with tracing.of_jobs("publish", Kind.PRODUCER, waiting):
                refused = [
                    job.id
                    for queue, of_queue in _by_queue(waiting)
                    for group in self._publish(queue, run_groups.form(of_queue, group_sizes))
                    for job in group
                ]
            if refused:
                raise QueueRefused(refused)

    def purge(self, queue: str) -> None:
        """Delete the undelivered messages of a queue, as far as the broker allows it.

        A remaining message is harmless: its run number is outdated.
        """
        if is_pulled(queue):
            return
        with suppress(BrokerUnavailable):
            self._run(lambda connection: connection.default_channel.queue_purge(queue))

    def is_refused(self, queue: str) -> bool:
        """Return True if the broker recently refused the queue, so that nothing is published to it for some seconds."""
        return self._refusals.holds(queue)

    def _publish(self, queue: str, groups: Sequence[Sequence[Job]]) -> Sequence[Sequence[Job]]:
        """Publish one message per group to one queue. Returns the groups if the broker refuses the queue."""
        if self._refusals.holds(queue):
            return groups
        began = time.monotonic()
        try:
            try:
                self._run(lambda connection: self._send_all(connection, queue, groups))
            except BrokerUnavailable as error:
                if self._is_breaker_open or time.monotonic() - began > _STALE_SECONDS:
                    self._fail(queue, error)
                self._run_or_fail(queue, lambda connection: self._send_all(connection, queue, groups))
        except QueueRefused:
            return groups
        self._refusals.remove(queue)
        return ()

    def _run_or_fail(self, queue: str, act: Callable[[Any], Result]) -> Result:
        try:
            return self._run(act)
        except BrokerUnavailable as error:
            self._fail(queue, error)

    def _fail(self, queue: str, error: BrokerUnavailable) -> NoReturn:
        """Skip a queue that the broker refuses for some seconds; open the breaker for any other error."""
        if refused_queues.is_of_queue(error.__cause__) or self._has_timed_out_on(error.__cause__):
            self._refusals.add(queue, error.__cause__)
            raise QueueRefused from error
        self._open_breaker(error)
        raise error

    def _has_timed_out_on(self, error: BaseException | None) -> bool:
        """Return True if RabbitMQ timed out for one queue but responds otherwise: the queue's cluster node was
        killed.
        """
        return not self._is_redis and isinstance(error, TimeoutError) and connectivity.ping(self._app)

    def _run(self, act: Callable[[Any], Result]) -> Result:
        """Run `act` with a pooled connection. Raises `BrokerUnavailable`."""
        if self._is_breaker_open:
            raise BrokerUnavailable
        # The transports' errors have no common class, and a publish must raise nothing but `BrokerUnavailable`.
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

    def _send_all(self, connection: Any, queue: str, groups: Sequence[Sequence[Job]]) -> None:
        producer = producer_channel_of(connection)
        for start in range(0, len(groups), _BATCH):
            batch = groups[start : start + _BATCH]
            if len(batch) == 1:
                self._send(producer, batch[0])
            else:
                self._send_batch(producer, queue, batch)

    def _send_batch(self, producer: ProducerChannel, queue: str, groups: Sequence[Sequence[Job]]) -> None:
        if self._is_redis:
            with producer.producer.batch(max_size=_BATCH):
                for group in groups:
                    self._send(producer, group)
            return
        for group in groups:
            self._send(producer, group)
        if len(groups) > _FEW:
            # RabbitMQ processes the frames of a channel in order, so this reply confirms all messages before it.
            self._queue(queue).bind(producer.channel).queue_declare(passive=True)

    def _send(self, producer: ProducerChannel, group: Sequence[Job]) -> None:
        first = group[0]
        message = Message(first.worker_id, tuple(job.next_run for job in group))
        headers = {}
        if self._key is not None:
            headers[SIGNATURE] = sign(self._key, *message.signed_parts)
        producer.send(
            TASK,
            message.task_id,
            message.arguments,
            first.queue,
            headers=headers,
            priority=self._to_broker(first.priority),
            declare=producer.undeclared(self._queue(first.queue)),
        )

    def _queue(self, name: str) -> Queue:
        if name not in self._queues:
            self._queues[name] = make_queue(name, queue_type=self._queue_type)
        return self._queues[name]

    # The breaker ---------------------------------------------------------------------------------------------------

    def _open_breaker(self, error: BaseException) -> None:
        with self._lock:
            if self._is_breaker_open or self._is_closed:
                return
            self._is_breaker_open = True
        self.on_reach(False)
        _log.warning("The broker is unreachable, will retry: %s", connectivity.explain(error))
        # With memory for only a few messages, a normal probe would close the breaker and the next publish open it
        # again.
        is_full = refused_queues.is_of_memory(error.__cause__)
        seconds = self._refusals.retry_seconds if is_full else self.probe_seconds
        threading.Thread(target=self._probe, args=(seconds,), name="ava-broker-probe", daemon=True).start()

    def _probe(self, seconds: float) -> None:
        """Close the breaker once the broker responds. Waits `seconds` before the first probe, then `probe_seconds`."""
        while not self._is_closed:
            time.sleep(seconds)
            seconds = self.probe_seconds
            if connectivity.ping(self._app):
                _log.warning("The broker is back.")
                self._is_breaker_open = False
                self.on_reach(True)
                return

    def was_reset(self) -> bool:
        """Return True if the broker lost its messages since the last call.

        Raises `BrokerUnavailable`, or its subclass `BrokerOfAnother` if another installation has claimed the broker.
        """
        marker = reset_marker.NAME
        # The state of an unreachable marker is unknown.
        if self._refusals.holds(marker):
            return False
        try:
            was_absent, owner = self._run_or_fail(
                marker,
                lambda connection: reset_marker.set_if_absent(
                    connection, is_redis=self._is_redis, installation=self._installation
                ),
            )
        except QueueRefused:
            return False
        self._refusals.remove(marker)
        if owner is not None:
            raise BrokerOfAnother(
                connectivity.describe_other(owner, is_redis=self._is_redis, installation=self._installation)
            )
        return was_absent

    def close(self) -> None:
        self._is_closed = True
        # kombu has one pool per URL. Leave it usable, because another application of this process may use it.
        self._app.pool.force_close_all(close_pool=False)


def _by_queue(jobs: Sequence[Job]) -> Iterable[tuple[str, Sequence[Job]]]:
    if len(jobs) == 1:
        return [(jobs[0].queue, jobs)]
    by_queue: dict[str, list[Job]] = {}
    for job in jobs:
        by_queue.setdefault(job.queue, []).append(job)
    return by_queue.items()
