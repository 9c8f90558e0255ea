"""The queue to one endpoint, as the sender that holds it sees it: what waits, what is being sent, and how it goes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ava.domain import webhook
from ava.domain.webhook import Attempt, EndpointHealth
from ava.store.webhooks.endpoint_leases import DueDelivery, HeldLease, LeaseEnd

__all__ = ["EndpointQueue"]

#: The longest that an endpoint's `Retry-After` stops all that goes there, in seconds.
_LONGEST_STOP_SECONDS = 300.0
#: How many times what is sent at once is here at a time, so that the endpoint need not wait for the database.
_ROUNDS = 8


class EndpointQueue:
    """Decides what is sent next to one endpoint."""

    def __init__(self, held: HeldLease, *, time_scale: float = 1.0) -> None:
        self.endpoint = held.endpoint
        #: Whether the database may hold more that is due than we have.
        self.may_have_more = True
        self._concurrency = held.concurrency
        self._timeouts = held.timeouts
        self._stop_seconds = 0.0
        self._was_put_off = False
        self._time_scale = time_scale
        self._waiting: deque[DueDelivery] = deque()
        self._sending: dict[str, DueDelivery] = {}
        #: What was attempted, and is not written yet.
        self._unwritten: dict[str, DueDelivery] = {}

    @property
    def health(self) -> EndpointHealth:
        """How the endpoint has behaved lately."""
        return webhook.health_of(concurrency=self._concurrency, timeouts=self._timeouts)

    @property
    def pause_seconds(self) -> float:
        """Seconds for which the endpoint is to be left alone; 0 while it is sent to."""
        return max(self._stop_seconds, webhook.pause_seconds(timeouts=self._timeouts, scale=self._time_scale))

    @property
    def busy(self) -> list[str]:
        """The deliveries that are here already, as UUIDs."""
        return [*self._sending, *self._unwritten, *(delivery.id for delivery in self._waiting)]

    @property
    def room(self) -> int:
        """How many more deliveries may be brought: one round is sent, others wait where they are answered."""
        if self._is_closing:
            return 0
        most = _ROUNDS * self._concurrency if self.health is EndpointHealth.ANSWERING else self._concurrency
        return max(0, most - len(self._sending) - len(self._unwritten) - len(self._waiting))

    @property
    def wants_turn(self) -> bool:
        """Whether more can be sent only once more is brought, or once what came of the last is written."""
        if self._is_closing:
            return False
        return len(self._sending) < self._concurrency if self._waiting else self.may_have_more

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing more to do here."""
        is_done = not (self._sending or self._unwritten)
        return is_done and (self._is_closing or not (self._waiting or self.may_have_more))

    def bring(self, deliveries: Iterable[DueDelivery]) -> None:
        """Add what is due, in order."""
        self._waiting.extend(deliveries)

    def next(self) -> DueDelivery | None:
        """What is to be sent now, if anything; an event waits until what came of its job's last one is written."""
        if self._is_closing or len(self._sending) >= self._concurrency:
            return None
        if not self._waiting:
            return None
        others = (*self._sending.values(), *self._unwritten.values())
        under_way = {delivery.job for delivery in others if delivery.job is not None}
        for delivery in self._waiting:
            if delivery.job not in under_way:
                self._waiting.remove(delivery)
                self._sending[delivery.id] = delivery
                return delivery
            under_way.add(delivery.job)
        return None

    def hear(self, delivery_id: str, attempt: Attempt) -> None:
        """Learn from an attempt how the endpoint is to be treated."""
        self._unwritten[delivery_id] = self._sending.pop(delivery_id)
        self._concurrency = webhook.next_concurrency(self._concurrency, attempt)
        self._timeouts = self._timeouts + 1 if attempt.is_timeout else 0
        self._was_put_off = self._was_put_off or attempt.is_timeout or attempt.retry_after_seconds is not None
        if attempt.retry_after_seconds is not None and not attempt.is_success:
            self._stop_seconds = max(self._stop_seconds, min(attempt.retry_after_seconds, _LONGEST_STOP_SECONDS))

    def finish(self, delivery_id: str) -> None:
        """Forget a delivery whose outcome is written."""
        self._unwritten.pop(delivery_id, None)
        self.may_have_more = True

    def end(self) -> LeaseEnd:
        """How the queue is left."""
        return LeaseEnd(
            endpoint=self.endpoint,
            concurrency=self._concurrency,
            timeouts=self._timeouts,
            pause_seconds=self.pause_seconds,
        )

    @property
    def _is_closing(self) -> bool:
        # What it did before we took the queue is over: it is asked again.
        return self._was_put_off and self.pause_seconds > 0
