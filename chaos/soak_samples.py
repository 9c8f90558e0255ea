"""Samples of an idle system: memory, files and connections of its processes, rows of its tables, Redis's memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import redis

from chaos.cluster import Cluster
from harness.servers.rabbitmq import RabbitMQ

_KIB_PER_MIB = 1024
#: A metric has grown if the median of the last third of its samples exceeds the median of the second third by more
#: than this share, plus a margin in its unit.
MAX_GROWTH = 0.15
_MARGINS = {"MiB": 4.0, "files": 5, "connections": 3, "rows": 60}
#: Tables that retain rows longer than a soak of an hour, with the retention: they may grow, but no faster than before.
RETAINED = {
    "idempotency_keys": "24 h",
    "received_keys": "24 h",
    # The leases of ended runs.
    "pulled_runs": "24 h",
    # The dispatcher drops the partition of a day once it has no jobs.
    "job_logs": "a day",
    "job_minutes": "24 h",
    "job_counts": "90 days",
    "job_time_histograms": "90 days",
}
_TABLES = """
SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition
    AND relnamespace = current_schema()::regnamespace ORDER BY relname
"""

#: The unit and the subject of a metric.
Metric = tuple[str, str]
Sample = dict[Metric, float]


@dataclass(frozen=True, kw_only=True)
class Trend:
    """The first value, the medians and the largest value of a metric."""

    metric: Metric
    first: float
    second_third: float
    last_third: float
    largest: float
    #: The retention of rows that outlast the soak.
    retained: str | None
    has_grown: bool


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """Return the trend of each metric. Raises `ValueError` for fewer than six samples."""
    if len(samples) < 6:
        raise ValueError(f"{len(samples)} samples are too few to compare their thirds; six are the fewest")
    metrics = sorted({metric for sample in samples for metric in sample})
    return [_trend(metric, [sample.get(metric, 0.0) for sample in samples]) for metric in metrics]


def _trend(metric: Metric, values: list[float]) -> Trend:
    third = len(values) // 3
    second, last = values[third : 2 * third], values[2 * third :]
    unit, subject = metric
    retained = RETAINED.get(subject) if unit == "rows" else None
    before, after = (median(second), median(last))
    if retained:
        # The rows that each sample of a third added.
        before = (second[-1] - values[third - 1]) / len(second)
        after = (last[-1] - second[-1]) / len(last)
    return Trend(
        metric=metric,
        first=values[0],
        second_third=median(second),
        last_third=median(last),
        largest=max(values),
        retained=retained,
        has_grown=after > before * (1 + MAX_GROWTH) + _MARGINS[unit],
    )


def take(cluster: Cluster) -> Sample:
    """Return one sample of everything."""
    found: Sample = defaultdict(float)
    for kind, process in processes(cluster):
        with suppress(psutil.Error, OSError):
            found["MiB", f"memory of {kind} (PSS)"] += _pss(process.pid)
            found["files", f"files of {kind}"] += process.num_fds()
    for (table,) in cluster.system.query(_TABLES):
        found["rows", table] = cluster.system.query(f'SELECT count(*) FROM "{table}"')[0][0]
    found["connections", "PostgreSQL"] = cluster.system.query(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    )[0][0]
    if not isinstance(cluster.broker, RabbitMQ):
        with redis.Redis.from_url(cluster.broker.url) as connection:
            found["MiB", "Redis's own count"] = connection.info()["used_memory"] / 2**20
            found["connections", "Redis"] = connection.info()["connected_clients"]
    return dict(found)


def processes(cluster: Cluster) -> Iterator[tuple[str, psutil.Process]]:
    """Yield every living process of the system, with its kind."""
    slots = {pid for (pid,) in cluster.system.query("SELECT pid FROM nodes WHERE has_slots AND stopped_at IS NULL")}
    for running in cluster.system.processes:
        kind = running.child.program.name.removeprefix("ava ")
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(running.pid)
            yield kind, root
            for child in running.children:
                yield "slots" if child.pid in slots else f"{kind}'s children", child
    for name, server in (("PostgreSQL", cluster.postgres), ("the broker", cluster.broker)):
        if (child := getattr(server, "child", None)) is not None:
            root = psutil.Process(child.pid)
            yield from ((name, each) for each in (root, *root.children(recursive=True)))


def _pss(pid: int) -> float:
    """Return the PSS of a process in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / _KIB_PER_MIB
    return 0.0
