"""Analytics: what a tenant's ended jobs add up to, over days."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

#: The longest period, and how long counts are kept.
MAX_DAYS = 90
#: Each bucket of times ends at this many times the end of the one before. The middle of a bucket is within 1.8 % of all
#: times in it.
BUCKET_GROWTH = 1.035
_QUANTILES = (0.50, 0.95, 0.99)


class GroupBy(StrEnum):
    """The spans of a series."""

    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedCounts:
    """How many jobs ended, and how long those that ran took."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    #: Those of the cancelled ones that expired.
    expired: int = 0
    ran: int = 0
    ran_ms: int = 0
    #: The processor time of those that ran, and the time for which they waited to start, in milliseconds.
    cpu_ms: int = 0
    wait_ms: int = 0

    @property
    def total(self) -> int:
        """Returns the number of jobs."""
        return self.completed + self.failed + self.cancelled

    @property
    def success_rate(self) -> float | None:
        """Returns the completed ones in percent, with one decimal; None if there are no jobs."""
        return round(100 * self.completed / self.total, 1) if self.total else None

    @property
    def avg_duration_ms(self) -> int | None:
        """Returns the average duration of those that ran; None if none did."""
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
    """The jobs that ended in one hour or one day."""

    starts_at: datetime
    counts: EndedCounts


@dataclass(frozen=True, kw_only=True, slots=True)
class Percentiles:
    """Percentiles of times in milliseconds; None if there are no times."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Analytics:
    """A period of a tenant."""

    period_days: int
    #: Midnight UTC.
    since: datetime
    jobs: EndedCounts
    #: The number of jobs by trigger, without triggers that have none.
    by_trigger: Mapping[str, int]
    by_worker: Mapping[str, EndedCounts]
    #: Oldest first, with the spans in which no job ended; None if it was not asked for.
    series: Sequence[SeriesPoint] | None = None
    #: From the time a job is due to its start, and from its start to its end; None if they were not asked for.
    wait: Percentiles | None = None
    run: Percentiles | None = None


def bucket_ms(bucket: int) -> float:
    """Returns the time that stands for all times of a bucket, in milliseconds. Buckets count in microseconds."""
    middle = 2 * BUCKET_GROWTH**bucket / (BUCKET_GROWTH + 1)
    # Two hundredths of a percent are lost by the rounding at the most.
    return round(middle / 1000, max(3, 3 - math.floor(math.log10(middle / 1000))) if middle < 1000 else 3)


def percentiles(buckets: Mapping[int, int]) -> Percentiles:
    """Returns the percentiles of times that are counted by bucket, by the nearest rank."""
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
