"""Metrics of the whole system, read from the database at a scrape, so every API process exposes the same values."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from ava.errors import DiskFull
from ava.store import dead_letters, partitions
from ava.store.engine import leader_lease
from ava.store.engine.database import Connection, Database
from ava.store.reports import metrics, promotions, server, statistics, tenant_loads
from ava.store.reports.metrics import UnfinishedEvents
from ava.store.reports.statistics import BOUNDS, NEVER, Total
from ava.store.reports.tenant_loads import TenantWait
from ava.store.webhooks import endpoint_leases

#: Maximum number of workers with their own label. All others share one label.
_MAX_WORKERS = 100
_OTHER_WORKERS = "other"
#: Maximum number of tenants with their own label: the longest waiting. All others share one label.
_MAX_WAITING_TENANTS = 20
_OTHER_TENANTS = "other"


class SystemMetrics:
    """The metrics of all tenants. A read is cached for two seconds."""

    cache_seconds = 2.0

    def __init__(self, database: Database, *, node_dead_seconds: float) -> None:
        self._database = database
        self._node_dead_seconds = node_dead_seconds
        self._lock = threading.Lock()
        self._exposition = b""
        self._read_at = float("-inf")

    def expose(self) -> bytes:
        """Return the metrics in the text format, at most `cache_seconds` old. Raises `DatabaseUnavailable`."""
        with self._lock:
            if time.monotonic() - self._read_at > self.cache_seconds:
                self._exposition = _render(self._read_all())
                self._read_at = time.monotonic()
            return self._exposition

    def _read_all(self) -> list[Metric]:
        is_full = server.is_disk_full(self._database)
        found = [_gauge("ava_database_disk_full", "1 while PostgreSQL's disk is full.", is_full)]
        # Reading the other metrics may need a temporary file.
        with suppress(DiskFull), self._database.connect() as connection:
            found += self._read(connection)
        return found

    def _read(self, connection: Connection) -> list[Metric]:
        return [
            _gauge(
                "ava_database_read_only",
                "1 while PostgreSQL refuses writes.",
                server.read_only_cause(connection) is not None,
            ),
            *_of_queues(
                metrics.queue_depths(connection),
                metrics.unserved_jobs(connection, dead_after_seconds=self._node_dead_seconds),
            ),
            *_of_waiting(metrics.waiting_jobs(connection), metrics.blocked_seconds(connection)),
            *_of_events(metrics.unfinished_events(connection)),
            *_of_running(metrics.running_jobs(connection)),
            *_of_recent(metrics.ended_recently(connection)),
            *_of_tenants(tenant_loads.read_waits(connection)),
            *_of_fleet(metrics.node_counts(connection, dead_after_seconds=self._node_dead_seconds)),
            _gauges(
                "ava_queue_refused",
                "Live nodes for which the broker refuses the queue.",
                ("queue",),
                [
                    ((queue,), count)
                    for queue, count in metrics.refused_queues(connection, dead_after_seconds=self._node_dead_seconds)
                ],
            ),
            *_of_webhooks(metrics.endpoint_counts(connection)),
            _gauge(
                "ava_webhook_events_lag_seconds",
                "Age in seconds of the oldest event that is not fanned out.",
                endpoint_leases.find_work(connection).oldest_event_seconds or 0.0,
            ),
            _gauge(
                "ava_dead_letters",
                "Dead letters: rows of queues that failed even on their own.",
                dead_letters.count(connection),
            ),
            *_of_totals(_bounded(statistics.totals(connection))),
            _of_promotions(promotions.counts(connection)),
            _gauge("ava_dispatcher_active", "1 while a dispatcher is active.", leader_lease.has_leader(connection)),
            _gauge(
                "ava_schedules_overdue_seconds",
                "Lag of the first due schedule, in seconds.",
                metrics.schedules_overdue_seconds(connection),
            ),
            *_of_partitions(partitions.days_ahead(connection)),
            _gauge(
                "ava_statistics_lag_seconds",
                "Lag of the statistics of ended jobs, in seconds.",
                metrics.statistics_lag_seconds(connection),
            ),
        ]


class _ReadMetrics(Collector):
    """Passes metrics that were already read to a registry."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _render(metrics: Sequence[Metric]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ReadMetrics(metrics))
    return generate_latest(registry)


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(name, description, value=float(value))


def _gauges(
    name: str, description: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> Metric:
    family = GaugeMetricFamily(name, description, labels=labels)
    for names, value in values:
        family.add_metric(names, value)
    return family


def _of_queues(depths: Sequence[metrics.QueueDepth], unserved: Sequence[tuple[str, int]]) -> Iterator[Metric]:
    queues = sorted({depth.queue for depth in depths})
    by_queue = {queue: [depth for depth in depths if depth.queue == queue] for queue in queues}
    labels = ("queue", "priority", "location")
    yield _gauges(
        "ava_queue_depth",
        f"Startable jobs, up to {metrics.MAX_QUEUED_COUNTED}; location: broker (published) or database (backlog).",
        labels,
        [
            ((depth.queue, str(depth.priority), location), value)
            for depth in depths
            for location, value in (("broker", depth.published), ("database", depth.backlog))
        ],
    )
    yield _gauges(
        "ava_queue_jobs",
        "Startable jobs; scale nodes by this metric.",
        ("queue",),
        [((queue,), sum(depth.published + depth.backlog for depth in of)) for queue, of in by_queue.items()],
    )
    yield _gauges(
        "ava_queue_oldest_seconds",
        "Age in seconds of the oldest startable job.",
        ("queue",),
        [((queue,), max(depth.oldest_seconds for depth in of)) for queue, of in by_queue.items()],
    )
    yield _gauges(
        "ava_jobs_unserved",
        "Queued jobs without a live node of their queue that has the handler.",
        ("worker_id",),
        [((worker_id,), jobs) for worker_id, jobs in unserved[:_MAX_WORKERS]],
    )


def _of_promotions(counts: Mapping[bool, int]) -> Metric:
    family = CounterMetricFamily(
        "ava_database_promotions",
        "Promotions of a PostgreSQL standby, by whether commits are known to be lost.",
        labels=("lossy",),
    )
    for is_lossy, count in counts.items():
        family.add_metric((str(is_lossy).lower(),), count)
    return family


def _of_partitions(days_ahead: Mapping[str, float]) -> Iterator[Metric]:
    description = "Seconds until the end of the last partition; below 0 new rows go to the default partition."
    seconds = {table: days * 86_400 for table, days in days_ahead.items()}
    yield _gauges(
        "ava_partitions_end_seconds", description, ("table",), [((table,), of) for table, of in seconds.items()]
    )
    yield _gauge("ava_log_partitions_end_seconds", f"Of log lines. {description}", seconds.get(partitions.LOGS, 0.0))


def _of_waiting(jobs: Mapping[str, int], blocked_seconds: Mapping[str, float]) -> Iterator[Metric]:
    yield _gauges(
        "ava_jobs_waiting",
        f"Waiting queued jobs by reason, each up to {metrics.MAX_QUEUED_COUNTED}.",
        ("waits_for",),
        [((reason,), count) for reason, count in jobs.items()],
    )
    yield _gauges(
        "ava_jobs_waiting_seconds",
        "Age in seconds of the oldest startable job that waits for a permit, a node, a worker or a queue.",
        ("waits_for",),
        [((reason,), seconds) for reason, seconds in blocked_seconds.items()],
    )


def _of_events(unfinished: Sequence[UnfinishedEvents]) -> Iterator[Metric]:
    yield _gauges(
        "ava_events_unfinished",
        "Events with jobs still to be created (subscriptions), or still to be compared with waits of handlers.",
        ("work",),
        [((each.work,), each.events) for each in unfinished],
    )
    yield _gauges(
        "ava_events_unfinished_seconds",
        "Age in seconds of the oldest of these events.",
        ("work",),
        [((each.work,), each.oldest_seconds) for each in unfinished],
    )


def _of_running(running: Sequence[metrics.RunningCount]) -> Iterator[Metric]:
    by_labels: tuple[tuple[str, Callable[[metrics.RunningCount], str]], ...] = (
        ("worker", lambda count: count.worker_id),
        ("tenant", lambda count: count.tenant_id),
        ("priority", lambda count: str(count.priority)),
    )
    yield _gauge("ava_jobs_running", "Running jobs.", sum(count.jobs for count in running))
    for label, name_of in by_labels:
        counts: Counter[str] = Counter()
        for count in running:
            counts[name_of(count)] += count.jobs
        yield _gauges(
            f"ava_jobs_running_by_{label}",
            f"Running jobs, for the {_MAX_WORKERS} busiest.",
            (label,),
            [((name,), jobs) for name, jobs in counts.most_common(_MAX_WORKERS)],
        )
    yield _gauge(
        "ava_jobs_cancelling", "Running jobs that were asked to stop.", sum(count.cancelling for count in running)
    )
    longest = max((count.longest_seconds for count in running), default=0)
    yield _gauge("ava_jobs_longest_running_seconds", "Run time in seconds of the longest-running job.", longest)


def _of_recent(recent: Sequence[tuple[str, str, int]]) -> Iterator[Metric]:
    yield _gauges(
        "ava_jobs_ended_recently",
        "Jobs that ended in the last five minutes, for the tenants with the most.",
        ("tenant", "status"),
        [((tenant, status), jobs) for tenant, status, jobs in recent],
    )


def _of_tenants(waits: Sequence[TenantWait]) -> Iterator[Metric]:
    """Yield waiting jobs by tenant. `waits` is sorted, the longest waiting tenant first."""
    named, others = waits[:_MAX_WAITING_TENANTS], waits[_MAX_WAITING_TENANTS:]
    yield _gauges(
        "ava_tenant_waiting_jobs",
        f"Startable jobs without a message in the broker, for the {_MAX_WAITING_TENANTS} longest-waiting tenants.",
        ("tenant",),
        [*(((wait.tenant_id,), wait.jobs) for wait in named), ((_OTHER_TENANTS,), sum(wait.jobs for wait in others))],
    )
    yield _gauges(
        "ava_tenant_wait_seconds",
        "Seconds since such a waiting tenant's last start of a job.",
        ("tenant",),
        [
            *(((wait.tenant_id,), wait.seconds) for wait in named),
            ((_OTHER_TENANTS,), max((wait.seconds for wait in others), default=0.0)),
        ],
    )


def _of_fleet(fleet: Sequence[metrics.NodeCount]) -> Iterator[Metric]:
    for name, description in (
        ("nodes", "Nodes that have not shut down cleanly."),
        ("processes", "Max concurrent jobs of the nodes."),
        ("busy", "Running jobs of the nodes."),
        ("memory_bytes", "Memory used by the nodes."),
    ):
        metric = "ava_nodes" if name == "nodes" else f"ava_nodes_{name}"
        yield _gauges(
            metric, description, ("state", "version"), [((of.state, of.version), getattr(of, name)) for of in fleet]
        )


def _of_webhooks(found: Sequence[tuple[str, int, float]]) -> Iterator[Metric]:
    yield _gauges(
        "ava_webhook_endpoints", "Endpoints by state.", ("status",), [((status,), count) for status, count, _ in found]
    )
    lags = [((status,), max(0.0, seconds)) for status, _, seconds in found]
    yield _gauges("ava_webhook_lag_seconds", "Lag of the oldest due delivery, in seconds.", ("status",), lags)


def _bounded(totals: Sequence[Total]) -> list[tuple[str, Total]]:
    """Return each total with its worker's label, which is `other` beyond the busiest workers."""
    jobs: Counter[str] = Counter()
    for total in totals:
        jobs[total.worker_id] += total.jobs
    named = {name for name, _ in jobs.most_common(_MAX_WORKERS)}
    return [(total.worker_id if total.worker_id in named else _OTHER_WORKERS, total) for total in totals]


def _of_totals(totals: Sequence[tuple[str, Total]]) -> Iterator[Metric]:
    ended, retries, losses = Counter[tuple[str, str]](), Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for worker, total in totals:
        ended[worker, total.status] += total.jobs
        retries[worker,] += total.retries
        losses[worker,] += total.losses
    yield _counter("ava_jobs_ended", "Jobs that ended.", ("worker", "status"), ended)
    yield _counter("ava_jobs_retries", "Retries of ended jobs.", ("worker",), retries)
    yield _counter(
        "ava_jobs_losses", "Runs of ended jobs that were lost with their process or node.", ("worker",), losses
    )
    yield _histogram(
        "ava_job_start_latency_seconds",
        "Seconds from the due time of a job to the start of its handler, if it started.",
        [(worker, total.wait_bucket, total.jobs, total.wait_seconds) for worker, total in totals],
    )
    yield _histogram(
        "ava_job_duration_seconds",
        "Seconds from the last start of a job's handler to its end.",
        [(worker, total.run_bucket, total.jobs, total.run_seconds) for worker, total in totals],
    )


def _counter(
    name: str, description: str, labels: Sequence[str], counts: Counter[tuple[str, ...]] | Counter[tuple[str, str]]
) -> Metric:
    family = CounterMetricFamily(name, description, labels=labels)
    for names, count in counts.items():
        family.add_metric(names, count)
    return family


def _histogram(name: str, description: str, found: Iterable[tuple[str, int, int, float]]) -> Metric:
    counts: dict[str, list[int]] = {}
    sums: Counter[str] = Counter()
    for worker, bucket, jobs, seconds in found:
        if bucket != NEVER:
            counts.setdefault(worker, [0] * (len(BOUNDS) + 1))[bucket] += jobs
            sums[worker] += seconds  # type: ignore[assignment]  # a Counter adds any numbers
    family = HistogramMetricFamily(name, description, labels=("worker",))
    bounds = [*(f"{float(bound):g}" for bound in BOUNDS), "+Inf"]
    for worker, of in counts.items():
        family.add_metric((worker,), buckets=list(zip(bounds, accumulate(of), strict=True)), sum_value=sums[worker])
    return family
