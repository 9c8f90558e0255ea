"""What one process counts of itself, for Prometheus.

Where several processes answer as one, as gunicorn's do, they share a folder (`PROMETHEUS_MULTIPROC_DIR`, set before
this module is imported) and any of them tells the sums.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

__all__ = [
    "ATTEMPTS",
    "DELIVERIES",
    "DELIVERY_SECONDS",
    "DUTY_CHANGES",
    "DUTY_FAILURES",
    "DUTY_SECONDS",
    "REQUESTS",
    "REQUEST_SECONDS",
    "expose",
]

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

DELIVERIES = Counter(
    "ava_webhook_attempts", "Attempts to deliver an event, by whether it was taken.", ("result",), registry=_registry
)
DELIVERY_SECONDS = Histogram(
    "ava_webhook_attempt_seconds",
    "Seconds that an attempt to deliver an event took.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10),
    registry=_registry,
)


def expose() -> bytes:
    """All counters in Prometheus's text format, of every process that shares ours."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return generate_latest(_registry)
    shared = CollectorRegistry()
    MultiProcessCollector(shared, path=folder)  # type: ignore[no-untyped-call]  # it has no annotations
    return generate_latest(shared)
