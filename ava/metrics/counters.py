"""What one process counts of itself, for Prometheus.

Where several processes answer as one, as gunicorn's do, they share a folder (`PROMETHEUS_MULTIPROC_DIR`, set before
this module is imported) and any of them tells the sums.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

__all__ = [
    "ATTEMPTS",
    "DUTY_CHANGES",
    "DUTY_FAILURES",
    "DUTY_SECONDS",
    "REQUESTS",
    "REQUEST_SECONDS",
    "WEBHOOK_REQUESTS",
    "WEBHOOK_REQUEST_SECONDS",
    "ConnectionMeter",
    "expose",
]

#: How often, and how many seconds apart, the counters of a process are asked for that begins at this moment.
_MOST_TRIES = 20
_PAUSE_SECONDS = 0.01

_registry = CollectorRegistry()

REQUESTS = Counter("ava_http_requests", "Answered HTTP requests.", ("method", "route", "status"), registry=_registry)
REQUEST_SECONDS = Histogram(
    "ava_http_request_seconds",
    "Seconds from a request's arrival to the beginning of its answer.",
    ("route",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    registry=_registry,
)
ATTEMPTS = Counter(
    "ava_attempts", "Runs that ended on this node, by what became of the job.", ("worker", "result"), registry=_registry
)
DUTY_SECONDS = Histogram(
    "ava_dispatcher_duty_seconds",
    "Seconds that a duty of the dispatcher took.",
    ("duty",),
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10),
    registry=_registry,
)
DUTY_CHANGES = Counter("ava_dispatcher_duty_changes", "What a duty changed.", ("duty",), registry=_registry)
DUTY_FAILURES = Counter(
    "ava_dispatcher_duty_failures", "Times a duty could not be done.", ("duty",), registry=_registry
)

WEBHOOK_REQUESTS = Counter(
    "ava_webhook_attempts",
    "Requests that deliver an event, by whether the endpoint accepted it.",
    ("result",),
    registry=_registry,
)
WEBHOOK_REQUEST_SECONDS = Histogram(
    "ava_webhook_attempt_seconds",
    "Seconds that a request that delivers an event took.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10),
    registry=_registry,
)


_LENT = Gauge(
    "ava_database_connections_lent",
    "Connections to PostgreSQL that are in use.",
    ("pool",),
    registry=_registry,
    multiprocess_mode="livesum",
)
_MOST = Gauge(
    "ava_database_connections_most",
    "Connections to PostgreSQL that may be in use at once.",
    ("pool",),
    registry=_registry,
    multiprocess_mode="livesum",
)
_TIMEOUTS = Counter(
    "ava_database_connection_timeouts",
    "Times that somebody waited in vain for a connection that others had.",
    ("pool",),
    registry=_registry,
)


class ConnectionMeter:
    """Counts what this process's pool of connections lends: see `ava.store.engine.database.PoolMeter`."""

    def __init__(self, name: str, size: int) -> None:
        _MOST.labels(name).set(size)
        self.checkout: Callable[[], AbstractContextManager[Any]] = _LENT.labels(name).track_inprogress
        self.checkout_timed_out: Callable[[], None] = _TIMEOUTS.labels(name).inc


def expose() -> bytes:
    """All counters in Prometheus's text format, of every process that shares ours."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return generate_latest(_registry)
    _forget_dead(folder)
    shared = CollectorRegistry()
    MultiProcessCollector(shared, path=folder)  # type: ignore[no-untyped-call]  # it has no annotations
    for _ in range(_MOST_TRIES):
        try:
            return generate_latest(shared)
        except struct.error:
            # A process that begins at this moment has made its file, and written nothing into it.
            time.sleep(_PAUSE_SECONDS)
    return generate_latest(shared)


def _forget_dead(folder: str) -> None:
    """Leave out what processes were using that have died with it."""
    for file in Path(folder).glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if not psutil.pid_exists(int(pid)):
            mark_process_dead(int(pid), folder)  # type: ignore[no-untyped-call]  # it has no annotations
