"""Series for charts: the steps of their points, and percentiles of counts by bucket."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

from ava.domain.jobs import priority
from ava.domain.record import about

#: Retention of points by minute and by hour; the second is the longest range.
MINUTES_KEPT = timedelta(days=2)
HOURS_KEPT = timedelta(days=90)
#: The shortest range and the default range, in seconds.
MIN_RANGE_SECONDS = 60
DEFAULT_RANGE_SECONDS = 3_600
MAX_RANGE_SECONDS = int(HOURS_KEPT.total_seconds())
#: A response has the smallest of these steps with at most this number of whole steps.
_STEPS = (60, 300, 600, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400)
_MAX_STEPS = 360
_HOUR = 3_600
_QUANTILES = (0.50, 0.95, 0.99)

#: One value per point; None: not measured, or no job.
Values = list[float | None]


class MarkType(StrEnum):
    #: A node started with another code version.
    DEPLOY = "deploy"
    #: A worker or a queue was paused.
    WORKER_PAUSE = "worker_pause"
    QUEUE_PAUSE = "queue_pause"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A deploy or a pause."""

    type: MarkType = field(metadata=about("`deploy`: a node started with another `AVA_CODE_VERSION`."))
    name: str = field(metadata=about("The code version, the worker's id, or the queue."))
    starts_at: datetime
    ends_at: datetime | None = field(metadata=about("The end of a pause, within a minute; null while it continues."))


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """The points of a response: `count` steps from `since`, which is a multiple of the step."""

    since: datetime = field(metadata=about("The start of the first step: a multiple of the step in UTC."))
    step_seconds: int = field(metadata={"minimum": _STEPS[0], "maximum": _STEPS[-1]})
    count: int = field(metadata={"internal": True})
    #: Whether rows by hour are read, because the first point is older than `MINUTES_KEPT`.
    is_hourly: bool = field(metadata={"internal": True})

    @property
    def until(self) -> Annotated[datetime, {"description": "The end of the last step."}]:
        return self.since + timedelta(seconds=self.step_seconds * self.count)

    @property
    def starts(self) -> list[datetime]:
        return [self.since + timedelta(seconds=self.step_seconds * number) for number in range(self.count)]

    def index(self, starts_at: datetime) -> int:
        """Return the number of the point with a time."""
        return int((starts_at - self.since).total_seconds() // self.step_seconds)


def grid(since: datetime, until: datetime, now: datetime) -> Grid:
    """Return the points from `since` to `until`, both within the retention and no later than now."""
    until = min(until.astimezone(UTC), now.astimezone(UTC))
    since = min(max(since.astimezone(UTC), now - HOURS_KEPT), until - timedelta(seconds=MIN_RANGE_SECONDS))
    is_hourly = since < now - MINUTES_KEPT
    seconds = (until - since).total_seconds()
    allowed = [step for step in _STEPS if not is_hourly or step >= _HOUR]
    step = next((step for step in allowed if seconds / step <= _MAX_STEPS), allowed[-1])
    first = since.timestamp() // step * step
    count = max(1, math.ceil((until.timestamp() - first) / step))
    return Grid(since=datetime.fromtimestamp(first, UTC), step_seconds=step, count=count, is_hourly=is_hourly)


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedSeries:
    """The number of jobs that ended in each step; null: not counted yet."""

    completed: Values = field(metadata=about("Completed jobs."))
    failed: Values = field(metadata=about("Failed jobs."))
    cancelled: Values = field(metadata=about("Cancelled jobs."))


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeSeries:
    """Percentiles in milliseconds, one value per point; null: no job. Interpolated within the buckets of metrics."""

    p50_ms: Values = field(metadata=about("Half of the jobs took at most this."))
    p95_ms: Values = field(metadata=about("95 % took at most this."))
    p99_ms: Values = field(metadata=about("99 % took at most this."))


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """The waiting jobs of one queue and priority; both null: of all further ones together."""

    queue: str | None
    priority: int | None = field(metadata={"minimum": priority.FIRST, "maximum": priority.LAST})
    jobs: Values = field(metadata=about("The highest sample of each step; null: no sample."))


@dataclass(frozen=True, kw_only=True, slots=True)
class FailureKind:
    """The failed jobs with one kind of error; null: with all further kinds together."""

    kind: str | None
    jobs: Values = field(metadata=about("Failed jobs."))


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """All series of a tenant, worker or queue at the same points."""

    grid: Grid = field(metadata={"flat": True})
    counted_until: datetime = field(metadata=about("The time until which ended jobs are counted."))
    ended: EndedSeries
    start: TimeSeries = field(metadata=about("From a job's due time to its start, on its first attempt."))
    run: TimeSeries = field(metadata=about("From a handler's start to its end."))
    running: Values = field(
        metadata=about("Running jobs: the highest sample of each step, one per minute; null: no sample.")
    )
    max_running: Values = field(
        metadata=about(
            "The concurrency limit of the worker or tenant; of all tenants together, the processes of "
            "live nodes. Null: no limit, or nothing was running."
        )
    )
    backlog: list[Backlog] = field(
        metadata=about("The largest first. Of a queue and priority about 20,000 jobs are counted.")
    )
    failures: list[FailureKind] = field(metadata=about("The most frequent first."))
    marks: list[Mark] = field(metadata=about("Oldest first."))


def percentiles(jobs: Sequence[int], bounds: Sequence[float]) -> list[float | None]:
    """Return the 50th, 95th and 99th percentile in milliseconds of durations that are counted by bucket.

    Bucket n has the durations below `bounds[n]` seconds, the last one all longer durations. A percentile within a
    bucket is interpolated, and never beyond the last bound.
    """
    total = sum(jobs)
    if not total:
        return [None] * len(_QUANTILES)
    return [round(1000 * _quantile(jobs, bounds, quantile * total), 1) for quantile in _QUANTILES]


def _quantile(jobs: Sequence[int], bounds: Sequence[float], rank: float) -> float:
    below = 0
    for number, count in enumerate(jobs):
        if count and below + count >= rank:
            if number == len(bounds):
                break
            low, high = (bounds[number - 1] if number else 0.0), bounds[number]
            part = (rank - below) / count
            # Bounds grow by a factor, so that durations are spread evenly over their logarithms.
            return low * (high / low) ** part if low else high * part
        below += count
    return bounds[-1]
