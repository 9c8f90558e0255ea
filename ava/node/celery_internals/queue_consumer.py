"""kombu's consumer, changed to continue if the broker refuses some queues, and to pause with its node.

Trials find out whether the broker accepts queues, exactly as a node declares and consumes them. On RabbitMQ a refusal
closes the channel, and operations on the queues of a killed cluster node get a reply only after a minute. So trials use
separate connections, and a timeout counts as a refusal.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from kombu import Consumer, Queue

from ava.broker import queues
from ava.broker.refused_queues import Refusals, is_of_queue
from ava.node.intake import Intake

#: Timeout in seconds of one queue's trial. A declaration in a cluster takes some hundredths.
_ANSWER_SECONDS = 2
#: Connections for the remaining queues after a first timeout.
_CONNECTIONS = 16


def try_queues(channel: Any, tried: Collection[Queue], *, is_consumed: bool) -> Mapping[str, Exception | None]:
    """Declare queues. Returns the broker's refusal by queue name, None if a queue is accepted.

    `channel`: any open one. `is_consumed`: also consume the queues; a received message returns to its queue. Raises the
    transport's error if the broker is unreachable.
    """
    connection = channel.connection.client
    if connection.transport.driver_type == "redis":
        return {queue.name: queues.find_foreign_key(channel, queue.name) for queue in tried}
    found: dict[str, Exception | None] = {}
    waiting = list(tried)
    while waiting and not any(isinstance(refusal, TimeoutError) for refusal in found.values()):
        found |= _try_over_one(connection, waiting, is_consumed=is_consumed)
        waiting = [queue for queue in waiting if queue.name not in found]
    if waiting:
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            for each in pool.map(lambda queue: _try_over_one(connection, [queue], is_consumed=is_consumed), waiting):
                found |= each
    return found


def _try_over_one(connection: Any, tried: Collection[Queue], *, is_consumed: bool) -> dict[str, Exception | None]:
    """Try queues over a separate connection, up to the first refusal."""
    options = {**connection.transport_options, "read_timeout": _ANSWER_SECONDS, "write_timeout": _ANSWER_SECONDS}
    found: dict[str, Exception | None] = {}
    own = connection.clone(transport_options=options, heartbeat=0)
    try:
        own.connect()
        channel = own.channel()
        for queue in tried:
            found[queue.name] = refusal = _try(channel, queue, own.channel_errors, is_consumed=is_consumed)
            if refusal is not None:
                break
    finally:
        # A received message returns to its queue. An unresponsive queue would delay an orderly close.
        with suppress(Exception):
            own.collect() if any(found.values()) else own.release()
    return found


def _try(channel: Any, queue: Queue, errors: tuple[type[Exception], ...], *, is_consumed: bool) -> Exception | None:
    bound = queue(channel)
    try:
        bound.declare()
        if is_consumed:
            # Per consumer, because RabbitMQ 4.3 refuses a limit per channel.
            channel.basic_qos(0, 1, False)
            bound.consume(f"trial.{queue.name}", no_ack=False, callback=lambda _message: None)
    except TimeoutError:
        return TimeoutError(f"no answer within {_ANSWER_SECONDS} s; its cluster node may be down")
    except errors as error:
        if not is_of_queue(error):
            raise
        return error
    return None


_log = logging.getLogger(__name__)

POLL_SECONDS = 1.0


class QueueConsumer(Consumer):  # type: ignore[misc]  # kombu has no annotations
    """Consumes the queues that the broker accepts, and retries the others. Pauses with its node."""

    #: The refused queues of this node; set by `ava.node.signals`.
    refusals: Refusals
    #: Whether this node takes jobs; set by `ava.node.signals`.
    intake = Intake()
    has_consumed = False
    #: Whether a trial also consumes, which may receive a message: only after a declared queue could not be consumed.
    is_consumption_tried = False

    def __init__(self, *args: Any, **options: Any) -> None:
        self._refused: dict[str, Queue] = {}
        #: Results of the last trial; empty until it ends.
        self._found: Mapping[str, Exception | None] = {}
        self._trial: threading.Thread | None = None
        self._is_paused = False
        super().__init__(*args, **options)

    def declare(self) -> None:
        """Declare the queues that the broker accepts.

        Raises the broker's error if a starting node has all of them refused.
        """
        found = self._try(self.queues)
        for queue in self.queues:
            if (refusal := found[queue.name]) is None:
                self.refusals.remove(queue.name)
            else:
                self._refuse(queue, refusal)
        if (refusal := next(iter(found.values()), None)) is not None and not self.queues and not self.has_consumed:
            raise refusal

    def consume(self, no_ack: bool | None = None) -> None:
        """Start consuming, unless the node is paused.

        Raises `ConnectionAbortedError`, so that Celery reconnects, if the broker refuses a declared queue.
        """
        if self.intake.is_open:
            with self._consuming():
                super().consume(no_ack)
        self._pause(not self.intake.is_open)

    def follow_intake(self) -> None:
        """Stop consuming when the node is paused, and restart when it takes jobs again."""
        if self.intake.is_open and self._is_paused:
            self.consume()
        elif not self.intake.is_open and not self._is_paused:
            # A message that Redis is just sending returns to its queue.
            self.cancel()
            self._pause(True)

    def _pause(self, is_paused: bool) -> None:
        self._is_paused = is_paused
        self.intake.is_consuming = not is_paused

    def retry(self) -> None:
        """Consume refused queues that the broker accepts again. A thread tries them, because that may take seconds."""
        if self._trial is not None and not self._trial.is_alive():
            found, self._found, self._trial = self._found, {}, None
            for name, refusal in found.items():
                queue = self._refused.pop(name)
                if refusal is not None:
                    self._refuse(queue, refusal)
                else:
                    self._accept(queue)
        due = [queue for name, queue in self._refused.items() if not self.refusals.holds(name)]
        if due and self._trial is None:
            self._trial = threading.Thread(target=self._try_again, args=(due,), name="ava-queue-trial", daemon=True)
            self._trial.start()

    def check(self) -> bool:
        """Stop consuming queues that the broker now refuses. Returns True if there are any."""
        found = self._try(self.queues)
        for queue in self.queues:
            if (refusal := found[queue.name]) is not None:
                self.cancel_by_queue(queue)
                self._refuse(queue, refusal)
        return any(found.values())

    def _try(self, tried: Collection[Queue]) -> Mapping[str, Exception | None]:
        return try_queues(self.channel, tried, is_consumed=self.is_consumption_tried)

    def _try_again(self, tried: Collection[Queue]) -> None:
        try:
            self._found = self._try(tried)
        except Exception as error:
            # The transports' errors have no common class, and the event loop notices an unreachable broker.
            _log.info("Refused queues cannot be tried, will retry: %s", error)

    def _basic_consume(self, queue: Queue, *args: Any, **options: Any) -> str:
        tag: str = super()._basic_consume(queue, *args, **options)
        # RabbitMQ cancels a consumer whose queue is deleted. Without a callback, py-amqp raises an error, which Celery
        # may ignore at the start of its loop.
        callbacks = getattr(self.channel, "cancel_callbacks", None)
        if callbacks is not None:
            callbacks[tag] = lambda _tag: self._on_cancelled(queue)
        return tag

    def _on_cancelled(self, queue: Queue) -> None:
        self._active_tags.pop(queue.name, None)
        self._active_queue_no_ack.pop(queue.name, None)
        self._refuse(queue, ConnectionAbortedError("it was deleted, or its cluster node is down"))

    def _refuse(self, queue: Queue, refusal: BaseException) -> None:
        self._queues.pop(queue.name, None)
        self._refused[queue.name] = queue
        self.refusals.add(queue.name, refusal)

    def _accept(self, queue: Queue) -> None:
        queue = self._queues[queue.name] = queue(self.channel)
        if not self._is_paused:
            with self._consuming():
                self._basic_consume(queue, no_ack=self.no_ack, nowait=False)
        self.refusals.remove(queue.name)

    @contextmanager
    def _consuming(self) -> Iterator[None]:
        errors = self.channel.connection.client.channel_errors
        try:
            yield
        except errors as error:
            if not is_of_queue(error):
                raise
            # The channel is closed, so no other queue is consumed either.
            type(self).is_consumption_tried = True
            raise ConnectionAbortedError(f"a queue that was declared cannot be consumed: {error}") from error
        type(self).has_consumed = True
