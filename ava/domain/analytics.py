"""Statistics of a tenant: totals of its ended jobs over days, and the overview of its jobs now."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from ava.domain.jobs import priority
from ava.domain.record import about

#: The longest period, and the retention of counts.
MAX_DAYS = 90
#: Ratio of the ends of neighbouring buckets of durations. A bucket's middle is within 1.8 % of all its durations.
BUCKET_GROWTH = 1.035
_QUANTILES = (0.50, 0.95, 0.99)


class GroupBy(StrEnum):
    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedCounts:
    """The number of ended jobs, and the total duration of the jobs that ran."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = field(default=0, metadata=about("The cancelled jobs that expired before they started."))
    ran: int = 0
    ran_ms: int = 0
    cpu_ms: int = field(
        default=0,
        metadata=about("Total CPU time of the jobs that ran, in milliseconds, as far as it is known."),
    )
    wait_ms: int = field(
        default=0,
        metadata=about("Total time that the jobs waited before they started, in milliseconds."),
    )

    @property
    def total(self) -> int:
        return self.completed + self.failed + self.cancelled

    @property
    def success_rate(
        self,
    ) -> Annotated[
        float | None,
        {"description": "Completed jobs as a percentage of `total`, with one decimal; null if `total` is 0."},
    ]:
        return round(100 * self.completed / self.total, 1) if self.total else None

    @property
    def avg_duration_ms(
        self,
    ) -> Annotated[
        int | None,
        {"description": "The average duration of the jobs that ran, in milliseconds; null if none ran."},
    ]:
        return round(self.ran_ms / self.ran) if self.ran else None

    def __add__(self, other: EndedCounts) -> EndedCounts:
        return EndedCounts(
            completed=self.completed + other.completed,
            failed=self.failed + other.failed,
            cancelled=self.cancelled + other.cancelled,
            expired=self.expired + other.expired,
            ran=self.ran + other.ran,
            ran_ms=self.ran_ms + other.ran_ms,
            cpu_ms=self.cpu_ms + other.cpu_ms,
            wait_ms=self.wait_ms + other.wait_ms,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesPoint:
    """The jobs that ended in one hour or day."""

    starts_at: datetime
    counts: EndedCounts = field(metadata={"flat": True})


@dataclass(frozen=True, kw_only=True, slots=True)
class Percentiles:
    """Percentiles of times in milliseconds, within 2 %; null without jobs."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """How long jobs waited, from the time they were due to their start, and ran."""

    wait: Percentiles
    run: Percentiles


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The jobs that ended in the period."""

    counts: EndedCounts = field(metadata={"flat": True})
    #: Jobs by trigger, without zeros, in the order of `Trigger`.
    by_trigger: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Analytics:
    """Statistics of the jobs that ended in a period."""

    period_days: int = field(metadata={"minimum": 1, "maximum": MAX_DAYS})
    since: datetime = field(metadata=about("Midnight UTC."))
    jobs: Ended
    by_worker: Mapping[str, EndedCounts]
    #: None if not requested; so are `percentiles`.
    series: Sequence[SeriesPoint] | None = field(
        default=None,
        metadata={
            "nullable": False,
            "description": "Only with `group_by`: one entry for each hour or day, oldest first, without gaps.",
        },
    )
    percentiles: Times | None = field(
        default=None, metadata={"nullable": False, "description": "Only with `percentiles=true`."}
    )


def bucket_ms(bucket: int) -> float:
    """Return the representative duration of a bucket in milliseconds. Buckets count in microseconds."""
    middle = 2 * BUCKET_GROWTH**bucket / (BUCKET_GROWTH + 1)
    # Rounding loses at most 0.02 %.
    return round(middle / 1000, max(3, 3 - math.floor(math.log10(middle / 1000))) if middle < 1000 else 3)


def percentiles(buckets: Mapping[int, int]) -> Percentiles:
    """Return the nearest-rank percentiles of durations that are counted by bucket."""
    total = sum(buckets.values())
    if not total:
        return Percentiles(p50_ms=None, p95_ms=None, p99_ms=None)
    found: list[float] = []
    seen = 0
    ranks = [math.ceil(quantile * total) for quantile in _QUANTILES]
    for bucket, jobs in sorted(buckets.items()):
        seen += jobs
        while len(found) < len(ranks) and seen >= ranks[len(found)]:
            found.append(bucket_ms(bucket))
    return Percentiles(p50_ms=found[0], p95_ms=found[1], p99_ms=found[2])


@dataclass(frozen=True, kw_only=True)
class Depth:
    """How many jobs of one priority are queued."""

    priority: int = field(metadata={"minimum": priority.FIRST, "maximum": priority.LAST})
    queued: int
    scheduled: int = field(metadata=about("The queued jobs of this priority with a `scheduled_at` in the future."))


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failed job."""

    id: str = field(metadata={"prefix": "job"})
    worker_id: str
    error: str | None = field(metadata={"payload": "error"})
    completed_at: datetime


@dataclass(frozen=True, kw_only=True)
class Minute:
    """How many jobs ended in one minute."""

    minute: datetime
    completed: int
    failed: int
    cancelled: int


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Percentiles of the newest jobs of the last hour, in milliseconds; None if there are no jobs."""

    sampled: int = field(metadata=about("The number of sampled jobs."))
    start_p50_ms: float | None = field(
        metadata=about("The time from when a job is due to its handler's start, over the last 5 minutes.")
    )
    start_p95_ms: float | None
    run_p50_ms: float | None = field(metadata=about("The time from the handler's start to its end."))
    run_p95_ms: float | None


_SCHEDULED = {
    "description": "Queued jobs with a `scheduled_at` in the future. Pending retries and jobs deferred by their "
    "handler are not counted."
}


_BACKLOG = {"description": "The waiting time of the oldest due job."}


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A tenant's jobs at one time of the database's clock."""

    queued: int
    queued_is_exact: bool = field(metadata=about("False if `queued` is a lower bound."))
    scheduled: int = field(metadata=_SCHEDULED)
    running: int
    by_priority: list[Depth]
    #: When the oldest startable job became due; None if there is none.
    oldest_due_at: datetime | None
    latency: Latency
    minutes: list[Minute] = field(metadata=about("The last 60 minutes, oldest first."))
    counted_until: datetime = field(metadata=about("The time until which ended jobs are counted in `minutes`."))
    failures: list[Failure] = field(metadata=about("The 5 most recent failures, newest first."))
    sampled_at: datetime

    @property
    def backlog_age_seconds(self) -> Annotated[float | None, _BACKLOG]:
        """Return how long the oldest startable job has waited, in seconds."""
        if self.oldest_due_at is None:
            return None
        return max(0.0, round((self.sampled_at - self.oldest_due_at).total_seconds(), 3))
