"""The use case of series: the values in the charts of a tenant, a worker or a queue over a time range."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from ava.domain.access.caller import Caller
from ava.domain.series import (
    Backlog,
    EndedSeries,
    FailureKind,
    Grid,
    Mark,
    MarkType,
    Series,
    TimeSeries,
    Values,
    grid,
    percentiles,
)
from ava.errors import OperatorsOnly
from ava.store.engine.database import Database
from ava.store.fleet.worker_settings import PLATFORM
from ava.store.reports import series_reads
from ava.store.reports.series_reads import Point
from ava.store.reports.statistics import BOUNDS

Key = TypeVar("Key")

#: Max backlogs and kinds of failures with their own values: the largest. The others are added up.
_MAX_SHOWN = 12


class SeriesReports:
    def __init__(self, database: Database) -> None:
        self._database = database

    def read(
        self,
        caller: Caller,
        *,
        range_seconds: int,
        since: datetime | None = None,
        until: datetime | None = None,
        worker_id: str | None = None,
        queue: str | None = None,
        tenant_id: str | None = None,
        of_platform: bool = False,
    ) -> Series:
        """Return the series from `since` to `until`; by default the last `range_seconds`. Raise `OperatorsOnly`."""
        tenant_id = _tenant_of(caller, tenant_id=tenant_id, of_platform=of_platform)
        with self._database.connect() as connection:
            progress = series_reads.progress(connection)
            end = until or progress.now
            points = grid(since or end - timedelta(seconds=range_seconds), end, progress.now)
            summed_until = progress.summed_until if points.is_hourly else None
            hours_until = max(points.since, summed_until or points.since)
            queues = series_reads.queues(connection, tenant_id=tenant_id)
            workers = _workers(queues, worker_id, queue)
            found = series_reads.read(
                connection,
                points,
                hours_until=hours_until,
                tenant_id=tenant_id,
                workers=[""] if workers is None else workers,
                queue=queue,
                has_backlog=worker_id is None,
            )
            stored_until = progress.stored_until or points.since
            found += series_reads.newest(
                connection, points, stored_until=stored_until, tenant_id=tenant_id, workers=workers
            )
            counted, sampled = series_reads.measured(connection, points, hours_until=hours_until)
            shown_queues = {queue} if queue else {queues.get(each, "") for each in workers or queues}
            marks = series_reads.marks(
                connection, points, now=progress.now, tenant_id=tenant_id, workers=workers, queues=sorted(shown_queues)
            )
        counted.update(start for start in points.starts if stored_until <= start < progress.counted_until)
        return _make_series(points, progress.counted_until, found, counted, sampled, marks)


def _tenant_of(caller: Caller, *, tenant_id: str | None, of_platform: bool) -> str:
    """Return the tenant of the rows to read; the platform's rows have the sums of all tenants."""
    wanted = PLATFORM if of_platform else tenant_id or caller.tenant_id
    if wanted != caller.tenant_id and not caller.is_operator:
        raise OperatorsOnly
    return wanted


def _workers(queues: dict[str, str], worker_id: str | None, queue: str | None) -> list[str] | None:
    """Return the workers to add up; None: all, with stored sums."""
    if worker_id is not None:
        return [worker_id]
    return None if queue is None else sorted(id_ for id_, own_queue in queues.items() if own_queue == queue)


def _make_series(
    points: Grid,
    counted_until: datetime,
    found: Sequence[Point],
    counted: set[datetime],
    sampled: set[datetime],
    marks: Iterable[Mark],
) -> Series:
    starts = points.starts
    of_workers = [point for point in found if point.kind == "worker"]
    no_jobs: Values = [0 if start in counted else None for start in starts]
    none_waits: Values = [0 if start in sampled else None for start in starts]
    is_one = len({point.subject for point in of_workers}) == 1
    waiting: dict[tuple[str, str], Values] = defaultdict(none_waits.copy)
    failing: dict[str, Values] = defaultdict(no_jobs.copy)
    for point in found:
        if point.kind == "backlog":
            _add(waiting[point.subject, point.part], points, point, "jobs")
        elif point.kind == "failures":
            _add(failing[point.part], points, point, "jobs")
    return Series(
        grid=points,
        counted_until=counted_until,
        ended=EndedSeries(
            completed=_summed(no_jobs, points, of_workers, "completed"),
            failed=_summed(no_jobs, points, of_workers, "failed"),
            cancelled=_summed(no_jobs, points, of_workers, "cancelled"),
        ),
        start=_times(points, of_workers, "wait_jobs"),
        run=_times(points, of_workers, "run_jobs"),
        running=_summed(none_waits, points, of_workers, "jobs"),
        max_running=_summed([None] * len(starts), points, of_workers if is_one else (), "max_jobs"),
        backlog=[
            Backlog(queue=key and key[0], priority=None if key is None else int(key[1]), jobs=jobs)
            for key, jobs in _largest(waiting)
        ],
        failures=[FailureKind(kind=kind, jobs=jobs) for kind, jobs in _largest(failing)],
        marks=_without_repeated_deploys(marks),
    )


def _add(values: Values, points: Grid, point: Point, name: str) -> None:
    if (value := getattr(point, name)) is not None:
        number = points.index(point.starts_at)
        values[number] = (values[number] or 0) + value


def _summed(first: Values, points: Grid, found: Iterable[Point], name: str) -> Values:
    values = first.copy()
    for point in found:
        _add(values, points, point, name)
    return values


def _times(points: Grid, found: Iterable[Point], name: str) -> TimeSeries:
    by_step: dict[int, list[int]] = {}
    for point in found:
        if (jobs := getattr(point, name)) is not None:
            number = points.index(point.starts_at)
            before = by_step.get(number)
            by_step[number] = list(jobs) if before is None else [a + b for a, b in zip(before, jobs, strict=True)]
    rows = [percentiles(by_step.get(number, ()), BOUNDS) for number in range(points.count)]
    p50, p95, p99 = ([row[number] for row in rows] for number in range(3))
    return TimeSeries(p50_ms=p50, p95_ms=p95, p99_ms=p99)


def _largest(values: dict[Key, Values]) -> list[tuple[Key | None, Values]]:
    """Return the entries with the most jobs, and the sum of the others under None."""
    ordered = sorted(values.items(), key=lambda item: -sum(value or 0 for value in item[1]))
    shown: list[tuple[Key | None, Values]] = [*ordered[:_MAX_SHOWN]]
    if others := [jobs for _, jobs in ordered[_MAX_SHOWN:]]:
        shown.append((None, [_sum(step) for step in zip(*others, strict=True)]))
    return shown


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _without_repeated_deploys(marks: Iterable[Mark]) -> list[Mark]:
    """Return marks without deploys of the same version as the deploy before, which other groups of nodes repeat."""
    shown: list[Mark] = []
    version = None
    for mark in marks:
        if mark.type is MarkType.DEPLOY:
            if mark.name == version:
                continue
            version = mark.name
        shown.append(mark)
    return shown
