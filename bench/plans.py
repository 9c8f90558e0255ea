"""The query plans of reads, checked: for `bench.scale` and `bench.removed_indexes`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from ava.domain.jobs.job import LogLevel, Status, Trigger
from ava.domain.jobs.job_filter import JobFilter
from ava.domain.limits.table import SERIES_ROWS
from ava.store.engine.database import Connection, Database
from ava.store.engine.statement import BY_INDEX, IN_ORDER
from ava.store.fleet import node_reads
from ava.store.fleet.node_reads import NodeFilter
from ava.store.jobs.reads import job_logs, lists
from ava.store.jobs.reads.job_logs import LAST_SEQ, LogRange
from ava.store.jobs.reads.why import read_facts
from ava.store.reports import metrics, overview, queue_counts, series, statistics

TENANT = "ten_bench"
_LARGE = ("jobs", "job_logs")
#: Max rows that a plan may read and discard, and that it may sort.
_MAX_REMOVED = 2_500
_MAX_SORTED = 25_000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The plan of one statement."""

    name: str
    milliseconds: float
    #: Max rows that one plan node read and discarded, and that one sorted.
    removed: int
    sorted_rows: int
    seq_scans: list[str]
    #: PostgreSQL's JSON of the topmost plan node.
    plan: Mapping[str, Any]

    @property
    def faults(self) -> list[str]:
        """Return the forbidden operations in the plan."""
        found = [f"{self.name}: scans all of {table}" for table in self.seq_scans]
        if self.removed > _MAX_REMOVED:
            found.append(f"{self.name}: {self.removed:,} rows are read and discarded")
        if self.sorted_rows > _MAX_SORTED:
            found.append(f"{self.name}: {self.sorted_rows:,} rows are sorted")
        return found

    @property
    def indexes(self) -> dict[str, int]:
        """Return the number of rows read from each index of jobs."""
        found = Counter[str]()
        for node in _nodes(self.plan):
            if node["Actual Loops"] and node.get("Index Name", "").startswith("jobs_"):
                found[node["Index Name"]] += round(node["Actual Rows"] * node["Actual Loops"])
        return dict(sorted(found.items()))

    @property
    def blocks(self) -> int:
        """Return how many blocks were read, from memory or from disk."""
        # A node's blocks include those of its parts, except for a part that writes and runs after it.
        return sum(
            max(0, _blocks(node) - sum(_blocks(part) for part in node.get("Plans", ()))) for node in _nodes(self.plan)
        )


class _ExplainingConnection:
    """A connection that explains every statement before running it."""

    def __init__(self, connection: Connection, name: str, findings: list[Finding]) -> None:
        self._connection = connection
        self._name = name
        self._findings = findings

    def exec_driver_sql(self, statement: str, parameters: Any = None) -> Any:
        setting = next((each for each in (IN_ORDER, BY_INDEX) if statement.startswith(each)), "")
        options = "ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON"
        explain = f"{setting} EXPLAIN ({options}) {statement.removeprefix(setting)}"
        (plan,) = self._connection.exec_driver_sql(explain, parameters).scalar_one()
        nodes = list(_nodes(plan["Plan"]))
        self._findings.append(
            Finding(
                name=self._name,
                milliseconds=plan["Execution Time"] + plan["Planning Time"],
                removed=max((round(_removed(node) * node["Actual Loops"]) for node in nodes), default=0),
                sorted_rows=max((_sorted(node) for node in nodes), default=0),
                seq_scans=[
                    node["Relation Name"]
                    for node in nodes
                    if node["Node Type"].endswith("Seq Scan")
                    and node["Relation Name"] in _LARGE
                    and node["Actual Loops"]
                ],
                plan=plan["Plan"],
            )
        )
        return self._connection.exec_driver_sql(statement, parameters)


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _blocks(node: Mapping[str, Any]) -> int:
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


def _removed(node: Mapping[str, Any]) -> float:
    return float(node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0))


def _sorted(node: Mapping[str, Any]) -> int:
    if node["Node Type"] not in ("Sort", "Incremental Sort"):
        return 0
    return round(sum(part["Actual Rows"] * part["Actual Loops"] for part in node["Plans"]))


def check(database: Database, now: datetime, some: list[str], newest: str) -> tuple[list[Finding], int]:
    """Explain every combination of filters and every other read. Returns the findings and the number of reads."""
    findings: list[Finding] = []
    reads_: dict[str, Callable[[Connection], object]] = {**_lists(now, newest), **_others(some, newest)}
    for name, read in reads_.items():
        with database.connect() as connection:
            read(explained(connection, name, findings))
    return findings, len(reads_)


def explained(connection: Connection, name: str, findings: list[Finding]) -> Connection:
    """Return a connection that explains each statement before running it, and appends to `findings`."""
    return cast(Connection, _ExplainingConnection(connection, name, findings))


def _lists(now: datetime, newest: str) -> dict[str, Callable[[Connection], object]]:
    long_ago, lately = now - timedelta(minutes=1_000), now - timedelta(seconds=30)
    choices: tuple[tuple[Any, ...], ...] = (
        (None, "wkr_noop", "wkr_rare", "wkr_none"),
        (None, *Status),
        (None, *Trigger),
        (None, long_ago, lately),
        (None, lately, long_ago),
    )
    found: dict[str, Callable[[Connection], object]] = {}
    for values in itertools.product(*choices):
        worker_id, status, trigger, after, before = values
        chosen = JobFilter(
            worker_id=worker_id, status=status, trigger=trigger, created_after=after, created_before=before
        )
        name = f"list {', '.join(str(value) for value in values)}"
        found[name] = lambda connection, of=chosen: (
            lists.page(connection, tenant_id=TENANT, job_filter=of, limit=21),
            lists.page(connection, tenant_id=TENANT, job_filter=of, limit=21, before_id=newest),
            lists.count(connection, tenant_id=TENANT, job_filter=of),
        )
    return found


def _others(some: list[str], newest: str) -> dict[str, Callable[[Connection], object]]:
    def why(connection: Connection, status: Status) -> None:
        for job in lists.page(connection, tenant_id=TENANT, job_filter=JobFilter(status=status), limit=1).jobs:
            read_facts(connection, job, dead_after_seconds=14)

    def log(connection: Connection, wanted: LogRange) -> None:
        job_logs.log_lines(connection, tenant_id=TENANT, job_id=newest, wanted=wanted)

    everything: dict[str, Callable[[Connection], object]] = {
        "show": lambda connection: [lists.show(connection, tenant_id=TENANT, job_id=each) for each in some[:5]],
        "queues": lambda connection: queue_counts.queue_counts(connection, tenant_id=TENANT),
        "overview": lambda connection: overview.read(connection, tenant_id=TENANT),
        "nodes": lambda connection: node_reads.page(
            connection, NodeFilter(tenant_id=TENANT, has_all=True), dead_after_seconds=14, limit=101
        ),
        "series": lambda connection: series.write(
            connection, max_running=None, dead_after_seconds=14, max_rows=SERIES_ROWS.value
        ),
        "metrics, depths": metrics.queue_depths,
        "metrics, waiting": metrics.waiting_jobs,
        "metrics, running": metrics.running_jobs,
        "metrics, recent": metrics.ended_recently,
        "metrics, totals": statistics.totals,
    }
    for status in Status:
        everything[f"why {status}"] = lambda connection, of=status: why(connection, of)
    for level in (None, *LogLevel):
        everything[f"logs {level}"] = lambda connection, of=level: (
            log(connection, LogRange(level=of, limit=500)),
            log(connection, LogRange(level=of, limit=500, after_seq=2**32 + 150_000)),
            log(connection, LogRange(level=of, limit=500, before_seq=LAST_SEQ)),
        )
    return everything
