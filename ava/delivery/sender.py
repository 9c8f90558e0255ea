"""The sender: takes queues, sends what is due on them, each attempt in a greenlet of its own, and writes the outcomes.

All that is asked of the database is asked here, one statement after the other, each for many endpoints and deliveries
at once; the greenlets only talk to endpoints.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import gevent
from gevent.event import Event as Bell

from ava import tracing
from ava.delivery.attempt import make_attempt
from ava.delivery.cpu_throttle import CpuThrottle
from ava.delivery.endpoint_queue import EndpointQueue
from ava.delivery.fan_out import BATCH, FanOut
from ava.domain import ids
from ava.domain.sealing import Sealer
from ava.domain.webhook import Attempt, EndpointHealth, describe_attempt, judge
from ava.errors import DatabaseUnavailable
from ava.metrics import counters
from ava.outbound.connections import Connections
from ava.outbound.http import Limits
from ava.settings import Settings
from ava.store.engine.database import Database
from ava.store.webhooks import endpoint_leases
from ava.store.webhooks.endpoint_leases import DeliveryOutcome, DueDelivery
from ava.tracing import Kind

__all__ = ["Sender"]

_log = logging.getLogger(__name__)

#: Seconds from one turn to the next, while there is something in hand.
_TURN_SECONDS = 0.1
#: Seconds between two turns at least, for others to ring the bell as well: a turn asks the database half a dozen
#: things, however much there is to be written and brought.
_GATHER_SECONDS = 0.1
#: The same where a turn has left something over, for the greenlets to get on.
_BREATH_SECONDS = 0.005
#: Outcomes that are written at once; fewer wait for the next look, so that many share a statement.
_ENOUGH_RESULTS = 64
#: Seconds until a queue that is being sent to is looked at again for what is new.
_REFRESH_SECONDS = 0.25
#: Lanes that are taken in one turn, so that several senders share them, and that none of those which answer waits for
#: many that may not: before each turn they come first.
_MOST_TAKEN = {EndpointHealth.ANSWERING: 200, EndpointHealth.UNKNOWN: 50, EndpointHealth.SILENT: 20}
#: The share of all connections that queues of a kind may hold.
_LARGEST_SHARE = {EndpointHealth.ANSWERING: 1.0, EndpointHealth.UNKNOWN: 0.75, EndpointHealth.SILENT: 0.5}
#: Outcomes that are written, and queues that are left, in one turn.
_MOST_WRITTEN = 200
#: Seconds that attempts get to end once the sender was told to stop; what is cut off is sent again by another.
_DRAIN_SECONDS = 5.0


class Sender:
    """One process's share of all deliveries."""

    def __init__(self, database: Database, sealer: Sealer, settings: Settings) -> None:
        self._database = database
        self._sealer = sealer
        self._settings = settings
        limits = Limits(
            exchange_timeout_seconds=settings.webhook_timeout_seconds, allow_private=settings.allow_private_addresses
        )
        self._connections = Connections(limits)
        self._fan_out = FanOut(database)
        self._id = str(ids.new_uuid())
        self._bell = Bell()
        self._queues: dict[str, EndpointQueue] = {}
        self._open_connections = 0
        #: What came of attempts and is not written yet: each attempt with its delivery and when it began.
        self._results: list[tuple[DueDelivery, Attempt, datetime]] = []
        self._secrets: dict[str, str] = {}
        self._beat_at = 0.0
        self._refresh_at = 0.0
        self._is_away = False
        #: Whether the last turn has left something over, and the next begins at once.
        self._is_behind = False
        self._is_ending = False
        self._courtesy = CpuThrottle(settings.webhook_niceness)
        self._oldest_seconds: float | None = None

    def run(self, is_ending: Callable[[], bool]) -> None:
        """Go on until told to end, then let what is under way end, for a time."""
        while not is_ending():
            self._is_behind = False
            self._try(self._turn)
            self._rest()
        self._is_ending = True
        deadline = time.monotonic() + _DRAIN_SECONDS
        while self._open_connections and time.monotonic() < deadline:
            gevent.sleep(_TURN_SECONDS)
        self._try(self._leave)
        self._connections.close()

    def wake(self) -> None:
        """Begin the next turn soon, for there is something new, or an end; at once where the last was some time ago."""
        self._bell.set()

    def _rest(self) -> None:
        """Wait until the next turn is to begin, while the greenlets go on."""
        turned_at = time.monotonic()
        if owed := self._courtesy.rest_seconds(self._oldest_seconds):
            gevent.sleep(owed)
        elif self._is_behind:
            gevent.sleep(_BREATH_SECONDS)
        elif self._bell.wait(self._quiet_seconds):
            gevent.sleep(max(0.0, turned_at + _GATHER_SECONDS - time.monotonic()))
            self._bell.clear()

    @property
    def _quiet_seconds(self) -> float:
        """How long to rest where nobody rings."""
        if self._queues or self._results:
            return _TURN_SECONDS
        return min(self._settings.webhook_look_seconds, self._settings.heartbeat_seconds)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except DatabaseUnavailable as error:
            if not self._is_away:
                _log.warning("Webhooks wait: %s", error)
            self._is_away = True
            gevent.sleep(0.5)
        except Exception:
            _log.exception("A turn of the sender failed.")
            gevent.sleep(0.5)
        else:
            if self._is_away:
                _log.warning("Webhooks go on.")
            self._is_away = False

    def _turn(self) -> None:
        self._beat()
        self._connections.close_idle()
        self._record()
        with self._database.connect() as connection:
            news = endpoint_leases.find_work(connection)
        self._oldest_seconds = news.oldest_event_seconds
        if self._oldest_seconds is not None and self._fan_out.run_once() == BATCH:
            self._is_behind = True
        if news:
            self._take()
        self._fill()
        self._start()
        self._release()

    def _leave(self) -> None:
        while self._results:
            self._record()
        with self._database.connect() as connection:
            endpoint_leases.deregister(connection, sender_id=self._id)

    def _beat(self) -> None:
        now = time.monotonic()
        if now < self._beat_at:
            return
        with self._database.connect() as connection:
            freed = endpoint_leases.heartbeat(
                connection,
                sender_id=self._id,
                host=socket.gethostname(),
                pid=os.getpid(),
                dead_after_seconds=self._settings.node_dead_seconds,
            )
        self._beat_at = now + self._settings.heartbeat_seconds
        if freed:
            _log.warning("%d endpoints were freed, whose sender is dead.", freed)

    def _record(self) -> None:
        batch = self._results[:_MOST_WRITTEN]
        if not batch:
            return
        with self._database.connect() as connection:
            changes = endpoint_leases.record(connection, [self._outcome(*result) for result in batch])
        # Only now: a delivery whose outcome is not written must not be brought again.
        del self._results[: len(batch)]
        for delivery, attempt, _ in batch:
            counters.DELIVERIES.labels("taken" if attempt.is_success else "failed").inc()
            counters.DELIVERY_SECONDS.observe(attempt.elapsed_ms / 1000)
            self._queues[delivery.endpoint].finish(delivery.id)
        for change in changes:
            _log.warning("Webhook %s is %s now.", change.webhook_id, change.status)
        if self._results:
            self._is_behind = True

    def _outcome(self, delivery: DueDelivery, attempt: Attempt, at: datetime) -> DeliveryOutcome:
        verdict = judge(
            attempt,
            failures=delivery.failures,
            chance=random.random(),  # noqa: S311 - it spreads attempts, and protects nothing
            scale=self._settings.webhook_time_scale,
        )
        return DeliveryOutcome(
            delivery=delivery.id,
            failures=delivery.failures,
            status=verdict.status,
            retry_in_seconds=verdict.retry_in_seconds,
            is_gone=attempt.is_gone,
            entry=describe_attempt(attempt, at, delivery.attempts + 1),
        )

    def _take(self) -> None:
        """Take queues, those whose endpoints answer first."""
        most = self._settings.webhook_connections
        held = Counter(queue.health for queue in self._queues.values())
        with self._database.connect() as connection:
            for health in EndpointHealth:
                room = min(int(most * _LARGEST_SHARE[health]) - held[health], most - len(self._queues))
                limit = min(room, _MOST_TAKEN[health])
                if limit <= 0:
                    continue
                taken = endpoint_leases.acquire(connection, sender_id=self._id, health=health, limit=limit)
                for queue in taken:
                    self._queues[queue.endpoint] = EndpointQueue(queue, time_scale=self._settings.webhook_time_scale)
                if len(taken) == limit:
                    self._is_behind = True

    def _fill(self) -> None:
        """Bring what is due on the queues that have room for it."""
        if time.monotonic() > self._refresh_at:
            self._refresh_at = time.monotonic() + _REFRESH_SECONDS
            for queue in self._queues.values():
                queue.may_have_more = True
        rooms = {queue.endpoint: queue.room for queue in self._queues.values() if queue.may_have_more and queue.room}
        if not rooms:
            return
        busy = [delivery for endpoint in rooms for delivery in self._queues[endpoint].busy]
        with self._database.connect() as connection:
            found = endpoint_leases.due(connection, sender_id=self._id, rooms=rooms, busy=busy)
        brought: dict[str, list[DueDelivery]] = {endpoint: [] for endpoint in rooms}
        for delivery in found:
            brought[delivery.endpoint].append(delivery)
        for endpoint, deliveries in brought.items():
            self._queues[endpoint].bring(deliveries)
            self._queues[endpoint].may_have_more = len(deliveries) == rooms[endpoint]

    def _start(self) -> None:
        """Begin attempts, one of each endpoint in turn, as long as connections are left."""
        ranks = {health: rank for rank, health in enumerate(EndpointHealth)}
        willing = sorted(self._queues.values(), key=lambda queue: ranks[queue.health])
        while willing and self._has_room():
            still_willing = []
            for queue in willing:
                if not self._has_room():
                    break
                if (delivery := queue.next()) is not None:
                    self._spawn(queue, delivery)
                    still_willing.append(queue)
            willing = still_willing

    def _send(self, queue: EndpointQueue, delivery: DueDelivery) -> None:
        """Attempt a delivery, and then whatever the queue has next, as long as there are connections for all."""
        following: DueDelivery | None = delivery
        while following is not None:
            delivery, at = following, datetime.now(UTC)
            attempt = self._attempt(delivery)
            queue.hear(delivery.id, attempt)
            self._results.append((delivery, attempt, at))
            following = queue.next() if self._has_room() else None
            # An endpoint that answers gets more at once.
            while following and self._has_room() and (another := queue.next()) is not None:
                self._spawn(queue, another)
        is_wanted = not self._has_room()
        self._open_connections -= 1
        if is_wanted or queue.wants_turn or len(self._results) >= _ENOUGH_RESULTS:
            self.wake()

    def _has_room(self) -> bool:
        return self._open_connections < self._settings.webhook_connections and not self._is_ending

    def _spawn(self, queue: EndpointQueue, delivery: DueDelivery) -> None:
        self._open_connections += 1
        gevent.spawn(self._send, queue, delivery)

    def _attempt(self, delivery: DueDelivery) -> Attempt:
        try:
            return self._request(delivery)
        except Exception as error:
            # It is ours, as where a key is missing; the delivery goes up its ladder, and its history says so.
            _log.exception("An attempt for %s failed here.", delivery.event_id)
            return Attempt(status=None, elapsed_ms=0, answer="", error=f"It could not be sent: {type(error).__name__}.")

    def _request(self, delivery: DueDelivery) -> Attempt:
        with _begin_span(delivery) as span:
            attempt = make_attempt(
                self._connections,
                endpoint=delivery.endpoint,
                url=delivery.url,
                event_id=delivery.event_id,
                body=delivery.body,
                secrets=[self._open(sealed) for sealed in delivery.sealed_secrets],
                traceparent=span.traceparent,
            )
            if attempt.status is not None:
                span.set_attribute("http.response.status_code", attempt.status)
            if not attempt.is_success:
                span.record_failure("not taken")
        return attempt

    def _open(self, sealed: str) -> str:
        if len(self._secrets) > 10_000:
            self._secrets.clear()
        if sealed not in self._secrets:
            self._secrets[sealed] = self._sealer.open(sealed)
        return self._secrets[sealed]

    def _release(self) -> None:
        idle = [queue for queue in self._queues.values() if queue.is_idle]
        if not idle:
            return
        if len(idle) > _MOST_WRITTEN:
            idle = idle[:_MOST_WRITTEN]
            self._is_behind = True
        with self._database.connect() as connection:
            endpoint_leases.release(connection, sender_id=self._id, ends=[queue.end() for queue in idle])
        for queue in idle:
            del self._queues[queue.endpoint]


def _begin_span(delivery: DueDelivery) -> tracing.Span:
    if not tracing.is_on():
        return tracing.NOTHING
    return tracing.start_span(
        "deliver",
        Kind.CLIENT,
        parent=delivery.traceparent,
        about={"ava.event.id": delivery.event_id, "ava.attempt": delivery.attempts + 1},
    )
