"""The counters of one process, for Prometheus.

Processes that serve one port together, such as gunicorn's, share a folder (`PROMETHEUS_MULTIPROC_DIR`, set before this
module is imported), and each of them exposes the sums.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from ava.metrics import ended_counters

#: Maximum reads, and seconds between them, during a merge or while a starting process's file is empty.
_MAX_READS = 20
_RETRY_SECONDS = 0.01

_registry = CollectorRegistry()

HTTP_REQUESTS = Counter(
    "ava_http_requests", "HTTP requests with a response.", ("method", "route", "status"), registry=_registry
)
HTTP_REQUEST_SECONDS = Histogram(
    "ava_http_request_seconds",
    "Seconds from a request's arrival to the beginning of its response.",
    ("route",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    registry=_registry,
)
RUNS_ENDED = Counter(
    "ava_attempts", "Runs that ended on this node, by the job's outcome.", ("worker", "result"), registry=_registry
)
ORPHANS_KILLED = Counter(
    "ava_orphans_killed",
    "Processes that handlers left running, killed or reaped at the end of the run.",
    ("worker",),
    registry=_registry,
)
POOL_LEAKS = Gauge(
    "ava_pool_leaks",
    "Slots, processes, messages and requests of a node's pool that are occupied without a job.",
    ("kind",),
    registry=_registry,
    multiprocess_mode="livesum",
)
SLOT_LOOP_LAG_SECONDS = Gauge(
    "ava_slot_loop_lag_seconds",
    "Seconds until the event loop of a slot process responded to its watch; the max of all slot processes.",
    registry=_registry,
    multiprocess_mode="livemax",
)
MESSAGES_DROPPED = Counter(
    "ava_messages_dropped",
    "Messages from the broker that were dropped, because no process of this service published them.",
    ("reason",),
    registry=_registry,
)
BROKER_UP = Gauge(
    "ava_broker_up",
    "1 while this process can publish to the broker, 0 while the broker is unreachable or takes no messages.",
    # The label keeps processes that do not publish (nodes and senders) from exposing this gauge.
    ("process",),
    registry=_registry,
    multiprocess_mode="livemin",
)
DUTY_SECONDS = Histogram(
    "ava_dispatcher_duty_seconds",
    "Duration of a call of a dispatcher's duty in seconds.",
    ("duty",),
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10),
    registry=_registry,
)
DUTY_CHANGES = Counter("ava_dispatcher_duty_changes", "Changes that a duty made.", ("duty",), registry=_registry)
DUTY_FAILURES = Counter("ava_dispatcher_duty_failures", "Failed calls of a duty.", ("duty",), registry=_registry)

SCHEDULE_FIRINGS = Counter(
    "ava_schedule_firings", "Firing times of schedules, by outcome.", ("outcome",), registry=_registry
)
SCHEDULE_LAG_SECONDS = Histogram(
    "ava_schedule_lag_seconds",
    "Seconds from a schedule's due time to the transaction that created its job.",
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 15, 60, 600, 3600),
    registry=_registry,
)

HOOK_DELIVERIES = Counter(
    "ava_hook_deliveries", "Requests to hooks, by status of the delivery.", ("status",), registry=_registry
)

EVENTS = Counter("ava_events", "Events from clients and hooks, by outcome.", ("source", "outcome"), registry=_registry)

WEBHOOK_REQUESTS = Counter(
    "ava_webhook_attempts", "Requests that deliver an event to a webhook, by result.", ("result",), registry=_registry
)
WEBHOOK_REQUEST_SECONDS = Histogram(
    "ava_webhook_attempt_seconds",
    "Duration of a request that delivers an event, in seconds.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10),
    registry=_registry,
)


_CONNECTIONS_IN_USE = Gauge(
    "ava_database_connections_in_use",
    "Connections to PostgreSQL in use.",
    ("pool",),
    registry=_registry,
    multiprocess_mode="livesum",
)
_MAX_CONNECTIONS = Gauge(
    "ava_database_connections_max",
    "Max connections of the pool to PostgreSQL.",
    ("pool",),
    registry=_registry,
    multiprocess_mode="livesum",
)
_CONNECTION_TIMEOUTS = Counter(
    "ava_database_connection_timeouts",
    "Requests for a connection that timed out, because all connections were in use.",
    ("pool",),
    registry=_registry,
)


class ConnectionMeter:
    """Meter of this process's connection pool: see `ava.store.engine.database.PoolMeter`."""

    def __init__(self, name: str, size: int) -> None:
        _MAX_CONNECTIONS.labels(name).set(size)
        self.checkout: Callable[[], AbstractContextManager[Any]] = _CONNECTIONS_IN_USE.labels(name).track_inprogress
        self.checkout_timed_out: Callable[[], None] = _CONNECTION_TIMEOUTS.labels(name).inc


def expose() -> bytes:
    """Return all counters in Prometheus's text format, summed over the processes that share our folder."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return generate_latest(_registry)
    merge_ended()
    shared = CollectorRegistry()
    MultiProcessCollector(shared, path=folder)  # type: ignore[no-untyped-call]  # it has no annotations
    for _ in range(_MAX_READS):
        try:
            with ended_counters.no_merge(Path(folder)):
                return generate_latest(shared)
        except (struct.error, BlockingIOError):
            # A starting process has created its file but written nothing yet.
            time.sleep(_RETRY_SECONDS)
    return generate_latest(shared)


def merge_ended() -> None:
    """Merge the counters of ended processes in our folder, and drop their gauges."""
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        ended_counters.merge(Path(folder))
