"""The use cases of reports: the overview and analytics of a tenant, the load of all tenants, and promotions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ava.domain.access.caller import Caller
from ava.domain.analytics import Analytics, Ended, EndedCounts, GroupBy, Overview, SeriesPoint, Times, percentiles
from ava.domain.counts import MAX_IN_TOTAL, PageBounds
from ava.domain.fleet import Promotion
from ava.errors import OperatorsOnly
from ava.store.engine import clock
from ava.store.engine.database import Database
from ava.store.reports import analytics, ended, overview, promotions, statistics, tenant_loads
from ava.store.reports.tenant_loads import TenantLoads

_SPANS = {GroupBy.HOUR: timedelta(hours=1), GroupBy.DAY: timedelta(days=1)}
_NO_JOBS = EndedCounts()


class AnalyticsReports:
    def __init__(self, database: Database) -> None:
        self._database = database

    def read(
        self,
        caller: Caller,
        *,
        days: int,
        worker_id: str | None = None,
        group_by: GroupBy | None = None,
        with_percentiles: bool = False,
    ) -> Analytics:
        """Return the analytics of `days` and today, of one worker or all."""
        with self._database.connect() as connection:
            now = clock.now(connection)
            since = midnight_before(now, days)
            scope: Any = {"tenant_id": caller.tenant_id, "since": since, "worker_id": worker_id}
            by_worker = analytics.by_worker(connection, **scope)
            by_trigger = analytics.by_trigger(connection, **scope)
            found = None if group_by is None else analytics.series(connection, group_by=group_by, **scope)
            times = statistics.read_times(connection, **scope) if with_percentiles else None
        return Analytics(
            period_days=days,
            since=since,
            jobs=Ended(counts=sum(by_worker.values(), EndedCounts()), by_trigger=by_trigger),
            by_worker=by_worker,
            series=None if found is None or group_by is None else _complete(found, since, now, group_by),
            percentiles=None
            if times is None
            else Times(wait=percentiles(times.get("wait", {})), run=percentiles(times.get("run", {}))),
        )


def recount(database: Database, *, retention_days: float) -> Iterator[tuple[datetime, int]]:
    """Recount the days with all jobs retained, one transaction per day. Yield each day and its number of jobs."""
    with database.connect() as connection:
        day, today = ended.first_day(connection, retention_days=retention_days)
    while day <= today:
        with database.transaction() as connection:
            jobs = ended.recount_day(connection, day)
        yield day, jobs
        day += timedelta(days=1)


def midnight_before(now: datetime, days: int) -> datetime:
    """Return the midnight UTC that is `days` before today's."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)


def _complete(
    found: Mapping[datetime, EndedCounts], since: datetime, now: datetime, group_by: GroupBy
) -> Sequence[SeriesPoint]:
    step = _SPANS[group_by]
    count = int((now - since) / step) + 1
    starts = [since + step * number for number in range(count)]
    return [SeriesPoint(starts_at=start, counts=found.get(start, _NO_JOBS)) for start in starts]


class Overviews:
    def __init__(self, database: Database) -> None:
        self._database = database

    def overview(self, caller: Caller) -> Overview:
        with self._database.connect() as connection:
            return overview.read(connection, tenant_id=caller.tenant_id)

    def tenants(self, caller: Caller, *, bounds: PageBounds) -> TenantLoads:
        """Return the load of tenants, by id, and the total. Raise `OperatorsOnly`."""
        if not caller.is_operator:
            raise OperatorsOnly
        with self._database.connect() as connection:
            return tenant_loads.read(connection, bounds=bounds)

    def promotions(
        self, caller: Caller, *, limit: int, offset: int = 0, before: int | None = None
    ) -> tuple[list[Promotion], int]:
        """Return promotions of a PostgreSQL standby, latest first, and the total. Raise `OperatorsOnly`."""
        if not caller.is_operator:
            raise OperatorsOnly
        with self._database.connect() as connection:
            found = promotions.page(connection, before=before, limit=limit, offset=offset)
            return found, min(sum(promotions.counts(connection).values()), MAX_IN_TOTAL)
