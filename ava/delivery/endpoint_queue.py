"""The queue of one endpoint, in the sender that holds its lease: deliveries that wait, and those being sent."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable

from ava.domain.webhooks import webhook
from ava.domain.webhooks.webhook import EndpointHealth, RequestResult
from ava.store.webhooks.endpoint_leases import DueDelivery, HeldLease, LeaseRelease

#: The longest pause of an endpoint because of its `Retry-After`, in seconds.
_LONGEST_RETRY_AFTER_PAUSE_SECONDS = 300.0
#: The queue of an answering endpoint holds this many times its concurrency, so that it need not wait for the database.
_QUEUED_PER_CONCURRENT = 8
#: Deliveries that the queues of one sender hold in memory, in total and of one tenant. An empty queue gets one anyway.
MAX_HELD = 4_000
_MAX_HELD_OF_TENANT = 1_000


class EndpointQueue:
    """Decides which delivery is sent next to one endpoint."""

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
        #: Deliveries whose request has ended and whose outcome is not written yet.
        self._unwritten: dict[str, DueDelivery] = {}

    @property
    def health(self) -> EndpointHealth:
        """How the endpoint has answered lately."""
        return webhook.health_of(concurrency=self._concurrency, timeouts=self._timeouts)

    @property
    def pause_seconds(self) -> float:
        """Seconds for which the endpoint gets no request after this lease; 0 if it need not pause."""
        pause = webhook.pause_seconds(timeouts=self._timeouts, scale=self._time_scale)
        return max(self._retry_after_pause_seconds, pause)

    @property
    def busy(self) -> list[str]:
        """The UUIDs of all deliveries in the queue."""
        return [*self._sending, *self._unwritten, *(delivery.id for delivery in self._waiting)]

    @property
    def room(self) -> int:
        """How many more deliveries may be added. Only for an endpoint that answers may more wait than are sent."""
        if self._is_closing:
            return 0
        is_answering = self.health is EndpointHealth.ANSWERING
        most = _QUEUED_PER_CONCURRENT * self._concurrency if is_answering else self._concurrency
        return max(0, most - len(self._sending) - len(self._unwritten) - len(self._waiting))

    @property
    def needs_round(self) -> bool:
        """Whether nothing can be sent before the next round adds deliveries or writes outcomes."""
        if self._is_closing:
            return False
        return len(self._sending) < self._concurrency if self._waiting else self.may_have_more

    @property
    def is_idle(self) -> bool:
        """Whether the lease can be released."""
        is_done = not (self._sending or self._unwritten)
        return is_done and (self._is_closing or not (self._waiting or self.may_have_more))

    def add(self, deliveries: Iterable[DueDelivery]) -> None:
        """Add due deliveries, in order."""
        self._waiting.extend(deliveries)

    def next(self, fits: Callable[[DueDelivery], bool] = lambda _: True) -> DueDelivery | None:
        """Returns the next delivery to send, or None if none may be sent now.

        An event waits until the outcome of its job's previous event is written. One that does not fit lets those of
        other jobs pass.
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
        """Return a delivery whose request could not begin to the head of the queue."""
        self._waiting.appendleft(self._sending.pop(delivery_id))

    def note_result(self, delivery_id: str, result: RequestResult) -> None:
        """Adapt concurrency and pause to a request's result."""
        self._unwritten[delivery_id] = self._sending.pop(delivery_id)
        self._concurrency = webhook.next_concurrency(self._concurrency, result)
        self._timeouts = self._timeouts + 1 if result.is_timeout else 0
        has_retry_after = result.retry_after_seconds is not None
        self._has_asked_to_wait = self._has_asked_to_wait or result.is_timeout or has_retry_after
        if result.retry_after_seconds is not None and not result.is_success:
            pause = min(result.retry_after_seconds, _LONGEST_RETRY_AFTER_PAUSE_SECONDS)
            self._retry_after_pause_seconds = max(self._retry_after_pause_seconds, pause)

    def finish(self, delivery_id: str) -> None:
        """Remove a delivery whose outcome is written."""
        self._unwritten.pop(delivery_id, None)
        self.may_have_more = True

    def end(self) -> LeaseRelease:
        """Returns what is written when the lease is released."""
        return LeaseRelease(
            endpoint=self.endpoint,
            concurrency=self._concurrency,
            timeouts=self._timeouts,
            pause_seconds=self.pause_seconds,
        )

    @property
    def _is_closing(self) -> bool:
        # Timeouts from before this lease do not count: their pause is over, and the endpoint gets a request again.
        return self._has_asked_to_wait and self.pause_seconds > 0


def shared_rooms(queues: Collection[EndpointQueue]) -> dict[str, int]:
    """Returns how many deliveries are added to each queue that has room, by its endpoint.

    Queues share what one sender holds, and those of one tenant what it may hold, but an empty queue always gets one.
    """
    held = {queue.endpoint: len(queue.busy) for queue in queues}
    of_tenant: Counter[str] = Counter()
    for queue in queues:
        of_tenant[queue.tenant_id] += held[queue.endpoint]
    asking = [queue for queue in queues if queue.may_have_more and queue.room]
    asking_of_tenant = Counter(queue.tenant_id for queue in asking)
    left = MAX_HELD - sum(held.values())
    rooms = {}
    for queue in asking:
        of_its_tenant = (_MAX_HELD_OF_TENANT - of_tenant[queue.tenant_id]) // asking_of_tenant[queue.tenant_id]
        room = min(queue.room, of_its_tenant, left // len(asking))
        if (room := max(room, 0 if held[queue.endpoint] else 1)) > 0:
            rooms[queue.endpoint] = room
    return rooms
