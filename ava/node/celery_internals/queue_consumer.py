"""kombu's consumer, which goes on with its other queues if the broker refuses some."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kombu import Consumer, Queue

from ava.broker import queues
from ava.broker.refusals import Refusals, is_of_queue

__all__ = ["QueueConsumer"]

#: The refusals after which one call of `retry` ends, because the event loop waits for the broker's answers.
_MOST_REFUSALS = 10


class QueueConsumer(Consumer):  # type: ignore[misc]  # kombu has no annotations
    """Consumes those of a node's queues that the broker accepts, and tries the others again.

    RabbitMQ closes the channel of a refusal, so each queue is tried on a spare channel first.
    """

    #: The refused queues of this node; `ava.node.signals` sets it.
    refusals: Refusals
    #: Whether this node has consumed a queue since it started.
    has_consumed = False
    #: Whether a trial also consumes. Only after a queue was declared and could not be consumed, because a trial that
    #: consumes may receive a message and returns it to the queue.
    is_consumption_tried = False

    def __init__(self, *args: Any, **options: Any) -> None:
        self._refused: dict[str, Queue] = {}
        self._spare: Any = None
        super().__init__(*args, **options)

    def declare(self) -> None:
        """Declare the queues, without those that the broker refuses.

        Raises the broker's error if the node starts and all are refused.
        """
        error = None
        for queue in self.queues:
            if (refusal := self._try(queue)) is None:
                self.refusals.remove(queue.name)
            else:
                error = refusal
                self._refuse(queue, refusal)
        self._close_spare()
        if error is not None and not self.queues and not self.has_consumed:
            raise error

    def consume(self, no_ack: bool | None = None) -> None:
        """Start consuming.

        Raises `ConnectionAbortedError`, so that Celery connects again, if the broker refuses a queue that it has
        declared.
        """
        with self._consuming():
            super().consume(no_ack)

    def retry(self) -> None:
        """Try the refused queues again, and consume those that the broker accepts."""
        refusals = 0
        for name in list(self._refused):
            queue = self._refused.pop(name)
            if (refusal := self._try(queue)) is not None:
                self._refuse(queue, refusal)
                refusals += 1
            else:
                queue = self._queues[name] = queue(self.channel)
                with self._consuming():
                    self._basic_consume(queue, no_ack=self.no_ack, nowait=False)
                self.refusals.remove(name)
            if refusals == _MOST_REFUSALS:
                break
        self._close_spare()

    def check(self) -> bool:
        """Stop consuming the queues that the broker refuses now. Returns True if there is one."""
        refused = [(queue, refusal) for queue in self.queues if (refusal := self._try(queue)) is not None]
        for queue, refusal in refused:
            self.cancel_by_queue(queue)
            self._refuse(queue, refusal)
        return bool(refused)

    def _refuse(self, queue: Queue, refusal: BaseException) -> None:
        self._queues.pop(queue.name, None)
        # The last to be tried again.
        self._refused[queue.name] = queue
        self.refusals.add(queue.name, refusal)

    @contextmanager
    def _consuming(self) -> Iterator[None]:
        try:
            yield
        except self._connection.channel_errors as error:
            if not is_of_queue(error):
                raise
            # The channel is closed, and with it no other queue is consumed any more.
            type(self).is_consumption_tried = True
            raise ConnectionAbortedError(f"a queue that was declared cannot be consumed: {error}") from error
        type(self).has_consumed = True

    # Trials ----------------------------------------------------------------------------------------------------------

    @property
    def _connection(self) -> Any:
        return self.channel.connection.client

    def _try(self, queue: Queue) -> Exception | None:
        """Declare a queue as the node needs it. Returns the broker's refusal, or None."""
        if self._connection.transport.driver_type == "redis":
            return queues.find_foreign_key(self.channel, queue.name)
        errors: tuple[type[Exception], ...] = self._connection.channel_errors
        if self._spare is None or not self._spare.is_open:
            self._spare = self._connection.channel()
        bound = queue(self._spare)
        try:
            bound.declare()
            if self.is_consumption_tried:
                # A message that comes is returned to the queue when the channel is closed.
                self._spare.basic_qos(0, 1, True)
                tag = bound.consume(f"trial.{queue.name}", no_ack=False, callback=lambda _message: None)
                self._spare.basic_cancel(tag)
        except errors as error:
            if not is_of_queue(error):
                raise
            return error
        return None

    def _close_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None and spare.is_open:
            with suppress(*self._connection.channel_errors):
                spare.close()
