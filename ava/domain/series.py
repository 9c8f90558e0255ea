"""Series for charts: the steps of their points, and percentiles of counts by bucket."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

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
    type: MarkType
    #: The code version, the worker's id or the queue.
    name: str
    starts_at: datetime
    #: The end of a pause; None for a deploy, and while the pause continues.
    ends_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """The points of a response: `count` steps from `since`, which is a multiple of the step."""

    since: datetime
    step_seconds: int
    count: int
    #: Whether rows by hour are read, because the first point is older than `MINUTES_KEPT`.
    is_hourly: bool

    @property
    def until(self) -> datetime:
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
class Times:
    """Percentiles of durations in milliseconds, one value per point; None: no job."""

    p50: Values
    p95: Values
    p99: Values


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """The waiting jobs of a queue and priority; both None: of all further ones together."""

    queue: str | None
    priority: int | None
    jobs: Values


@dataclass(frozen=True, kw_only=True, slots=True)
class Failures:
    """The failed jobs with one kind of error; None: with all further kinds together."""

    kind: str | None
    jobs: Values


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """All series of a tenant, worker or queue at the same points."""

    grid: Grid
    #: All jobs that ended before it are counted.
    counted_until: datetime
    completed: Values
    failed: Values
    cancelled: Values
    start: Times
    run: Times
    running: Values
    #: The concurrency limit; None: no limit, or nothing was running.
    max_running: Values
    backlog: list[Backlog]
    failures: list[Failures]
    marks: list[Mark]


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
