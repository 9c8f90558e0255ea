"""The queue of one endpoint in the sender that holds its lease: waiting deliveries and requests in flight."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable

from ava.domain.webhooks import webhook
from ava.domain.webhooks.webhook import EndpointHealth, RequestResult
from ava.store.webhooks.endpoint_leases import DueDelivery, HeldLease, LeaseRelease

#: Maximum pause of an endpoint in seconds for a `Retry-After`.
_LONGEST_RETRY_AFTER_PAUSE_SECONDS = 300.0
#: Queue length of a responding endpoint, as a multiple of its concurrency, so that it does not wait for the database.
_QUEUED_PER_CONCURRENT = 8
#: Maximum deliveries that one sender buffers, in total and per tenant. An empty queue always gets one.
MAX_HELD = 4_000
_MAX_HELD_OF_TENANT = 1_000


class EndpointQueue:
    """Chooses the next delivery for one endpoint."""

    def __init__(self, lease: HeldLease, *, time_scale: float = 1.0) -> None:
        self.endpoint = lease.endpoint
        self.tenant_id = lease.tenant_id
        #: Whether the database may hold due deliveries that are not in the queue.
        self.may_have_more = True
        self._concurrency = lease.concurrency
        self._timeouts = lease.timeouts
        self._retry_after_pause_seconds = 0.0
        self._has_asked_to_wait = False
        self._time_scale = time_scale
        self._waiting: deque[DueDelivery] = deque()
        self._sending: dict[str, DueDelivery] = {}
        #: Deliveries with an ended request whose outcome is not stored yet.
        self._unwritten: dict[str, DueDelivery] = {}

    @property
    def health(self) -> EndpointHealth:
        """How the endpoint responded recently."""
        return webhook.health_of(concurrency=self._concurrency, timeouts=self._timeouts)

    @property
    def pause_seconds(self) -> float:
        """Seconds without requests to the endpoint after this lease; 0: no pause."""
        pause = webhook.pause_seconds(timeouts=self._timeouts, scale=self._time_scale)
        return max(self._retry_after_pause_seconds, pause)

    @property
    def busy(self) -> list[str]:
        """The UUIDs of all deliveries in the queue."""
        return [*self._sending, *self._unwritten, *(delivery.id for delivery in self._waiting)]

    @property
    def capacity(self) -> int:
        """Free capacity for further deliveries. Only a responding endpoint may queue more than its concurrency."""
        if self._is_closing:
            return 0
        is_answering = self.health is EndpointHealth.ANSWERING
        max_queued = _QUEUED_PER_CONCURRENT * self._concurrency if is_answering else self._concurrency
        return max(0, max_queued - len(self._sending) - len(self._unwritten) - len(self._waiting))

    @property
    def needs_round(self) -> bool:
        """Whether nothing can be sent until the next round adds deliveries or stores outcomes."""
        if self._is_closing:
            return False
        return len(self._sending) < self._concurrency if self._waiting else self.may_have_more

    @property
    def is_idle(self) -> bool:
        """Whether the lease can be released."""
        is_done = not (self._sending or self._unwritten)
        return is_done and (self._is_closing or not (self._waiting or self.may_have_more))

    def add(self, deliveries: Iterable[DueDelivery]) -> None:
        self._waiting.extend(deliveries)

    def next(self, fits: Callable[[DueDelivery], bool] = lambda _: True) -> DueDelivery | None:
        """Return the next delivery to send, or None if none may be sent now.

        An event waits until the outcome of its job's previous event is stored. If a delivery does not fit, deliveries
        of other jobs may pass it.
        """
        if self._is_closing or len(self._sending) >= self._concurrency:
            return None
        if not self._waiting:
            return None
        others = (*self._sending.values(), *self._unwritten.values())
        under_way: set[str | None] = {delivery.job for delivery in others if delivery.job is not None}
        for delivery in self._waiting:
            if delivery.job not in under_way and fits(delivery):
                self._waiting.remove(delivery)
                self._sending[delivery.id] = delivery
                return delivery
            if delivery.job is not None:
                under_way.add(delivery.job)
        return None

    def put_back(self, delivery_id: str) -> None:
        """Return a delivery to the head of the queue, because its request could not start."""
        self._waiting.appendleft(self._sending.pop(delivery_id))

    def record_result(self, delivery_id: str, result: RequestResult) -> None:
        """Adjust concurrency and pause to a request's result."""
        self._unwritten[delivery_id] = self._sending.pop(delivery_id)
        self._concurrency = webhook.next_concurrency(self._concurrency, result)
        self._timeouts = self._timeouts + 1 if result.is_timeout else 0
        has_retry_after = result.retry_after_seconds is not None
        self._has_asked_to_wait = self._has_asked_to_wait or result.is_timeout or has_retry_after
        if result.retry_after_seconds is not None and not result.is_success:
            pause = min(result.retry_after_seconds, _LONGEST_RETRY_AFTER_PAUSE_SECONDS)
            self._retry_after_pause_seconds = max(self._retry_after_pause_seconds, pause)

    def finish(self, delivery_id: str) -> None:
        """Remove a delivery after its outcome was stored."""
        self._unwritten.pop(delivery_id, None)
        self.may_have_more = True

    def end(self) -> LeaseRelease:
        return LeaseRelease(
            endpoint=self.endpoint,
            concurrency=self._concurrency,
            timeouts=self._timeouts,
            pause_seconds=self.pause_seconds,
        )

    @property
    def _is_closing(self) -> bool:
        # Timeouts from before this lease do not count: their pause has ended.
        return self._has_asked_to_wait and self.pause_seconds > 0


def shared_capacities(queues: Collection[EndpointQueue]) -> dict[str, int]:
    """Return the number of deliveries to add to each queue with capacity, by endpoint.

    Queues share the sender's maximum and their tenant's maximum, but an empty queue always gets one.
    """
    held = {queue.endpoint: len(queue.busy) for queue in queues}
    of_tenant: Counter[str] = Counter()
    for queue in queues:
        of_tenant[queue.tenant_id] += held[queue.endpoint]
    asking = [queue for queue in queues if queue.may_have_more and queue.capacity]
    asking_of_tenant = Counter(queue.tenant_id for queue in asking)
    left = MAX_HELD - sum(held.values())
    capacities = {}
    for queue in asking:
        of_its_tenant = (_MAX_HELD_OF_TENANT - of_tenant[queue.tenant_id]) // asking_of_tenant[queue.tenant_id]
        capacity = min(queue.capacity, of_its_tenant, left // len(asking))
        if (capacity := max(capacity, 0 if held[queue.endpoint] else 1)) > 0:
            capacities[queue.endpoint] = capacity
    return capacities
