"""The sender: lease endpoints, send due deliveries with one greenlet per request, and store the outcomes.

Only the sender's rounds query the database: sequential statements for many endpoints and deliveries. Greenlets only
talk to endpoints.
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
import gevent.event
import gevent.lock

from ava.delivery.endpoint_queue import EndpointQueue, shared_capacities
from ava.delivery.fan_out import FanOut
from ava.delivery.requests import NoticeSender, send_event
from ava.delivery.sender_limits import CpuThrottle, SendBudget
from ava.domain import ids
from ava.domain.limits.table import NOTICE_MAILS
from ava.domain.notices.notice import NoticeEvent, Occurrence
from ava.domain.outbound.outbound_rules import OutboundRules
from ava.domain.secrets.sealing import Sealer
from ava.domain.webhooks.webhook import EndpointHealth, RequestResult, describe_request, judge
from ava.errors import DatabaseUnavailable
from ava.metrics import counters
from ava.outbound.connections import Connections
from ava.outbound.http import Limits
from ava.settings import Settings
from ava.store.engine.database import Database
from ava.store.webhooks import endpoint_leases, notice_windows, notices, outcomes
from ava.store.webhooks.endpoint_leases import DueDelivery
from ava.store.webhooks.outcomes import DeliveryOutcome, StatusChange
from ava.telemetry import tracing
from ava.telemetry.span import NOTHING, Kind, Span

_log = logging.getLogger(__name__)

#: Seconds between rounds while an endpoint is leased or an outcome is not stored.
_ROUND_SECONDS = 0.1
#: Seconds between a round and a woken one, so that several results share it. A round runs half a dozen statements,
#: regardless of its load.
_GATHER_SECONDS = 0.1
#: Seconds between rounds if the last one left work over, for the greenlets to run.
_YIELD_SECONDS = 0.005
#: Number of results that wake the next round. Fewer wait for it, so that many share a statement.
_ENOUGH_RESULTS = 64
_REFRESH_SECONDS = 0.25
#: Maximum endpoints leased in one round, so that several senders share them, and so that responding endpoints, leased
#: first, do not wait for many others.
_MAX_LEASED = {EndpointHealth.ANSWERING: 200, EndpointHealth.UNKNOWN: 50, EndpointHealth.SILENT: 20}
#: Maximum share of all connections, by endpoint health.
_LARGEST_SHARE = {EndpointHealth.ANSWERING: 1.0, EndpointHealth.UNKNOWN: 0.75, EndpointHealth.SILENT: 0.5}
_MAX_WRITTEN = 200
#: Maximum seconds for requests to end when the sender stops. Another sender repeats interrupted requests.
_DRAIN_SECONDS = 5.0


class Sender:
    """Sends one process's share of all deliveries."""

    def __init__(self, database: Database, sealer: Sealer, settings: Settings) -> None:
        self._database = database
        self._sealer = sealer
        self._settings = settings
        limits = Limits(exchange_timeout_seconds=settings.webhook_timeout_seconds, rules=OutboundRules.of(settings))
        self._connections = Connections(limits)
        self._notices = NoticeSender(self._connections, settings, self._reserve_mails)
        self._fan_out = FanOut(database)
        self._id = str(ids.new_uuid())
        self._wakeup = gevent.event.Event()
        #: The queue of each leased endpoint, by the endpoint's UUID.
        self._queues: dict[str, EndpointQueue] = {}
        self._budget = SendBudget(settings.webhook_connections)
        #: Read large bodies one at a time, because the sender has few connections to the database.
        self._body_turn = gevent.lock.BoundedSemaphore()
        #: Results that are not stored yet, each with its delivery and the request's start time.
        self._results: list[tuple[DueDelivery, RequestResult, datetime]] = []
        self._secrets: dict[str, str] = {}
        self._heartbeat_at = 0.0
        self._refresh_at = 0.0
        self._is_database_unreachable = False
        #: Whether the last round left work over, so that the next starts immediately.
        self._has_backlog = False
        self._is_ending = False
        self._cpu_throttle = CpuThrottle(settings.webhook_niceness)

    def run(self, is_ending: Callable[[], bool]) -> None:
        """Run rounds until `is_ending` returns True, then wait up to `_DRAIN_SECONDS` for requests in flight."""
        while not is_ending():
            self._has_backlog = False
            self._try(self._run_round)
            self._wait()
        self._is_ending = True
        deadline = time.monotonic() + _DRAIN_SECONDS
        while self._budget.open_connections and time.monotonic() < deadline:
            gevent.sleep(_ROUND_SECONDS)
        self._try(self._deregister)
        if self._is_database_unreachable:
            # The first try may have lost only the response of a commit.
            self._try(self._deregister)
        self._connections.close()

    def wake(self) -> None:
        """Start the next round soon, because there is work or the process is ending."""
        self._wakeup.set()

    def _wait(self) -> None:
        """Wait until the next round is due, while the greenlets run."""
        ended_at = time.monotonic()
        if seconds := self._cpu_throttle.pause_seconds(self._fan_out.delay_seconds):
            gevent.sleep(seconds)
        elif self._has_backlog:
            gevent.sleep(_YIELD_SECONDS)
        elif self._wakeup.wait(self._poll_seconds):
            gevent.sleep(max(0.0, ended_at + _GATHER_SECONDS - time.monotonic()))
            self._wakeup.clear()

    @property
    def _poll_seconds(self) -> float:
        """Return the seconds until the next round if nothing wakes it."""
        if self._queues or self._results:
            return _ROUND_SECONDS
        return min(self._settings.webhook_poll_seconds, self._settings.heartbeat_seconds)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except DatabaseUnavailable as error:
            if not self._is_database_unreachable:
                _log.warning("Webhook sender: database unavailable, will retry: %s", error)
            self._is_database_unreachable = True
            gevent.sleep(0.5)
        except Exception:
            _log.exception("Webhook sender: round failed, will retry")
            gevent.sleep(0.5)
        else:
            if self._is_database_unreachable:
                _log.warning("Webhook sender: database available again")
            self._is_database_unreachable = False

    def _run_round(self) -> None:
        self._send_heartbeat()
        self._connections.close_idle()
        self._write_outcomes()
        with self._database.connect() as connection:
            work = endpoint_leases.find_work(connection)
        if work.oldest_event_seconds is not None:
            with self._cpu_throttle.counted():
                self._fan_out.run_once()
            self._has_backlog = self._has_backlog or self._fan_out.has_more
        if work:
            self._lease_endpoints()
        self._load_due()
        self._start_requests()
        self._release_idle()

    def _deregister(self) -> None:
        while self._results:
            self._write_outcomes()
        with self._database.connect() as connection:
            endpoint_leases.deregister(connection, sender_id=self._id)

    def _send_heartbeat(self) -> None:
        now = time.monotonic()
        if now < self._heartbeat_at:
            return
        with self._database.connect() as connection:
            freed = endpoint_leases.heartbeat(
                connection,
                sender_id=self._id,
                host=socket.gethostname(),
                pid=os.getpid(),
                dead_after_seconds=self._settings.node_dead_seconds,
                held=self._queues,
            )
        self._heartbeat_at = now + self._settings.heartbeat_seconds
        if freed:
            _log.warning("Webhook sender: freed %d endpoint leases that no living sender knows", freed)

    def _write_outcomes(self) -> None:
        batch = self._results[:_MAX_WRITTEN]
        if not batch:
            return
        with self._database.transaction() as connection:
            changes = outcomes.record(connection, [self._outcome(*result) for result in batch])
            notice_windows.note(connection, [_degraded(change) for change in changes if change.is_degraded_webhook])
        # Only now: a delivery must not be loaded again before its outcome is stored.
        del self._results[: len(batch)]
        for delivery, result, _ in batch:
            counters.WEBHOOK_REQUESTS.labels("taken" if result.is_success else "failed").inc()
            counters.WEBHOOK_REQUEST_SECONDS.observe(result.elapsed_ms / 1000)
            self._queues[delivery.endpoint].finish(delivery.id)
        for change in changes:
            _log.warning(
                "Webhook sender: status of %s is now %s%s",
                change.endpoint_id,
                change.status,
                ", paused" if change.is_gone else "",
            )
        if self._results:
            self._has_backlog = True

    def _outcome(self, delivery: DueDelivery, result: RequestResult, sent_at: datetime) -> DeliveryOutcome:
        verdict = judge(
            result,
            failures=delivery.failures,
            draw=random.random(),  # noqa: S311 - it spreads requests, and protects nothing
            scale=self._settings.webhook_time_scale,
        )
        return DeliveryOutcome(
            delivery=delivery.id,
            tenant_id=delivery.tenant_id,
            failures=delivery.failures,
            due_at=delivery.due_at,
            status=verdict.status,
            retry_in_seconds=verdict.retry_in_seconds,
            is_gone=result.is_gone,
            entry=describe_request(result, sent_at, delivery.requests + 1),
        )

    def _lease_endpoints(self) -> None:
        """Lease endpoints with due deliveries, responding endpoints first."""
        max_connections = self._settings.webhook_connections
        held = Counter(queue.health for queue in self._queues.values())
        with self._database.connect() as connection:
            for health in EndpointHealth:
                capacity = min(
                    int(max_connections * _LARGEST_SHARE[health]) - held[health], max_connections - len(self._queues)
                )
                limit = min(capacity, _MAX_LEASED[health])
                if limit <= 0:
                    continue
                leases = endpoint_leases.acquire(connection, sender_id=self._id, health=health, limit=limit)
                for lease in leases:
                    self._queues[lease.endpoint] = EndpointQueue(lease, time_scale=self._settings.webhook_time_scale)
                if len(leases) == limit:
                    self._has_backlog = True

    def _load_due(self) -> None:
        """Add due deliveries to queues with capacity."""
        if time.monotonic() > self._refresh_at:
            self._refresh_at = time.monotonic() + _REFRESH_SECONDS
            for queue in self._queues.values():
                queue.may_have_more = True
        capacities = shared_capacities(self._queues.values())
        if not capacities:
            return
        busy = [delivery for endpoint in capacities for delivery in self._queues[endpoint].busy]
        with self._database.connect() as connection:
            found = endpoint_leases.due_deliveries(
                connection, sender_id=self._id, capacities=capacities, in_flight=busy
            )
        by_endpoint: dict[str, list[DueDelivery]] = {endpoint: [] for endpoint in capacities}
        for delivery in found:
            by_endpoint[delivery.endpoint].append(delivery)
        for endpoint, deliveries in by_endpoint.items():
            self._queues[endpoint].add(deliveries)
            self._queues[endpoint].may_have_more = len(deliveries) == capacities[endpoint]

    def _start_requests(self) -> None:
        """Start requests while connections are free, round-robin over endpoints."""
        ranks = {health: rank for rank, health in enumerate(EndpointHealth)}
        candidates = sorted(self._queues.values(), key=lambda queue: ranks[queue.health])
        while candidates and self._budget.has_connection():
            served = []
            for queue in candidates:
                if (delivery := self._next(queue)) is not None:
                    self._spawn(queue, delivery)
                    served.append(queue)
            candidates = served

    def _next(self, queue: EndpointQueue) -> DueDelivery | None:
        """Return a delivery that may be sent now."""
        if self._is_ending or not self._budget.has_connection(queue.tenant_id):
            return None
        return queue.next(self._budget.fits)

    def _spawn(self, queue: EndpointQueue, delivery: DueDelivery) -> None:
        self._budget.take(delivery)
        gevent.spawn(self._work_off, queue, delivery)

    def _work_off(self, queue: EndpointQueue, delivery: DueDelivery) -> None:
        """Send a delivery, then the next ones in the queue while connections are free."""
        while True:
            sent_at = datetime.now(UTC)
            result = self._send_safely(delivery)
            is_connection_wanted = not self._budget.has_connection(queue.tenant_id)
            self._budget.release(delivery)
            if result is None:
                queue.put_back(delivery.id)
                return
            queue.record_result(delivery.id, result)
            self._results.append((delivery, result, sent_at))
            if is_connection_wanted or (following := self._next(queue)) is None:
                break
            delivery = following
            self._budget.take(delivery)
            # The endpoint's concurrency may have grown.
            while (another := self._next(queue)) is not None:
                self._spawn(queue, another)
        if is_connection_wanted or queue.needs_round or len(self._results) >= _ENOUGH_RESULTS:
            self.wake()

    def _send_safely(self, delivery: DueDelivery) -> RequestResult | None:
        """Return a request's result; None if it did not start because the database was unavailable."""
        try:
            return self._send(delivery, self._body_of(delivery))
        except DatabaseUnavailable:
            return None
        except Exception as error:
            # An internal failure, such as a missing key, counts as a failed request and appears in the delivery's
            # record.
            _log.exception("Webhook sender: event %s could not be sent", delivery.event_id)
            reason = f"It could not be sent: {type(error).__name__}."
            return RequestResult(status=None, elapsed_ms=0, response_body="", error=reason)

    def _body_of(self, delivery: DueDelivery) -> str:
        if delivery.body is not None:
            return delivery.body
        with self._body_turn, self._database.connect() as connection:
            return endpoint_leases.read_body(connection, tenant_id=delivery.tenant_id, event_id=delivery.event_id) or ""

    def _send(self, delivery: DueDelivery, body: str) -> RequestResult:
        if delivery.channel is not None:
            target = self._sealer.open(*delivery.sealed_secrets)
            return self._notices.send(delivery, channel=delivery.channel, target=target, body=body)
        with _start_span(delivery) as span:
            result = send_event(
                self._connections,
                endpoint=delivery.endpoint,
                tenant_id=delivery.tenant_id,
                url=delivery.url,
                event_id=delivery.event_id,
                body=body,
                secrets=[self._open(sealed) for sealed in delivery.sealed_secrets],
                traceparent=span.traceparent,
            )
            if result.status is not None:
                span.set_attribute("http.response.status_code", result.status)
            if not result.is_success:
                span.record_failure("not taken")
        return result

    def _reserve_mails(self, tenant_id: str, mails: int) -> bool:
        with self._body_turn, self._database.connect() as connection:
            return notices.reserve_mails(connection, tenant_id=tenant_id, mails=mails, max_mails=NOTICE_MAILS.value)

    def _open(self, sealed: str) -> str:
        if len(self._secrets) > 10_000:
            self._secrets.clear()
        if sealed not in self._secrets:
            self._secrets[sealed] = self._sealer.open(sealed)
        return self._secrets[sealed]

    def _release_idle(self) -> None:
        idle = [queue for queue in self._queues.values() if queue.is_idle]
        if not idle:
            return
        if len(idle) > _MAX_WRITTEN:
            idle = idle[:_MAX_WRITTEN]
            self._has_backlog = True
        with self._database.connect() as connection:
            endpoint_leases.release(connection, sender_id=self._id, leases=[queue.end() for queue in idle])
        for queue in idle:
            del self._queues[queue.endpoint]


def _degraded(change: StatusChange) -> Occurrence:
    facts = {"webhook_id": change.endpoint_id}
    return Occurrence(tenant_id=change.tenant_id, event=NoticeEvent.WEBHOOK_DEGRADED, facts=facts)


def _start_span(delivery: DueDelivery) -> Span:
    if not tracing.is_on():
        return NOTHING
    return tracing.start_span(
        "deliver",
        Kind.CLIENT,
        parent=delivery.traceparent,
        about={"ava.event.id": delivery.event_id, "ava.attempt": delivery.requests + 1},
    )
