"""Measure schedules: their lag one by one, ten thousand in one second, and the cost of a hundred thousand idle ones."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import psutil

from ava.domain import ids
from ava.domain.schedules.schedule import timezone_data_version
from ava.domain.schedules.schedule_record import spread_delay
from bench.load import percentile
from bench.measures import drain
from bench.servers import until
from bench.systems import Ours
from bench.table import Figures

#: Schedules that fire one by one, within a minute.
_ALONE = 300
_ALONE_SPREAD_SECONDS = 59
_IDLE_SECONDS = 20.0
#: Their local times differ, so each pattern is computed separately.
_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns")
_DAYS = ("*", "1-7", "0-6", "SUN-SAT", "1,2,3,4,5,6,0")

_INSERT = """
INSERT INTO schedules (tenant_id, worker_id, cron, timezone, input, priority, overlap, catch_up,
                       catch_up_seconds, spread_seconds, decided_until, next_run_at, timezone_data, created_by)
SELECT 'ten_bench', 'wkr_noop', p.cron, p.timezone, '{"a":1}', 5, 'allow', 'last', 3600, %s, now(), %s, %s,
       'usr_bench'
FROM generate_series(0, %s - 1) AS n
JOIN unnest(%s::text[], %s::text[]) WITH ORDINALITY AS p (cron, timezone, k) ON p.k = n %% %s + 1
"""
_STARTED = """
SELECT triggered_by, extract(epoch FROM scheduled_at)::float8, extract(epoch FROM started_at)::float8
FROM jobs WHERE started_at IS NOT NULL
"""


def fire(system: Ours, *, due: int, idle: int) -> Figures:
    """Measure the lag of single firings, the rate of many in the same second, and the cost of idle schedules."""
    _clear(system)
    plain = drain(system, jobs=min(due, 20_000))["jobs/s"]
    alone = _alone(system)
    return {
        "alone: p50 ms late": percentile(alone, 50),
        "alone: p99 ms late": percentile(alone, 99),
        **_at_once(system, due, plain),
        **_idle(system, idle),
    }


def _clear(system: Ours) -> None:
    system.clear()
    system.database.value("TRUNCATE schedules, schedule_firings")


def _insert(
    system: Ours, count: int, patterns: Sequence[tuple[str, str]], *, next_run_at: datetime, spread_seconds: int = 0
) -> None:
    crons, zones = [cron for cron, _ in patterns], [zone for _, zone in patterns]
    version = timezone_data_version()
    system.database.value(_INSERT, spread_seconds, next_run_at, version, count, crons, zones, len(patterns))
    system.database.value("VACUUM (ANALYZE) schedules")


def _now(system: Ours) -> datetime:
    now: datetime = system.database.value("SELECT now()")
    return now


def _alone(system: Ours) -> list[float]:
    """Return the lag in milliseconds of jobs whose schedules fire at different times."""
    _clear(system)
    with system.workers():
        # Make their first firing due now, because the dispatcher writes the delay that it derives from each id.
        _insert(system, _ALONE, [("* * * * *", "UTC")], next_run_at=_now(system), spread_seconds=_ALONE_SPREAD_SECONDS)
        until(lambda: system.finished() >= _ALONE, seconds=300)
    late = []
    for schedule_id, slot, started in system.database.rows(_STARTED):
        assert ids.decode("sch", schedule_id)
        late.append((started - slot - spread_delay(schedule_id, _ALONE_SPREAD_SECONDS).total_seconds()) * 1000)
    return late


def _patterns(at: datetime) -> Iterator[tuple[str, str]]:
    """Yield patterns of the same instant, each with its zone."""
    for zone in _ZONES:
        local = at.astimezone(ZoneInfo(zone))
        for day in _DAYS:
            yield f"{local.minute} {local.hour} * * {day}", zone


def _at_once(system: Ours, due: int, plain: float) -> Figures:
    _clear(system)
    at = _now(system).replace(second=0, microsecond=0) + timedelta(minutes=2)
    with system.workers():
        _insert(system, due, list(_patterns(at)), next_run_at=at)
        until(lambda: time.time() >= at.timestamp(), seconds=180, every=0.001)
        until(lambda: system.database.value("SELECT count(*) FROM schedule_firings") >= due, every=0.05)
        written = time.time() - at.timestamp()
        until(lambda: system.finished() >= due, seconds=300, every=0.1)
        first, last = system.database.rows(
            "SELECT extract(epoch FROM min(started_at))::float8, extract(epoch FROM max(started_at))::float8 FROM jobs"
        )[0]
    rate = due / (last - first)
    return {
        "at once: all jobs written after s": written,
        "at once: first started ms late": (first - at.timestamp()) * 1000,
        "at once: jobs/s": rate,
        "at once: share of a plain backlog's rate": rate / plain,
    }


def _idle(system: Ours, idle: int) -> Figures:
    _clear(system)
    without = _processor_share(system)
    far = _now(system) + timedelta(days=300)
    _insert(system, idle, [("0 0 1 1 *", zone) for zone in _ZONES], next_run_at=far)
    return {"idle: share of a core %": max(0.0, _processor_share(system) - without) * 100}


def _processor_share(system: Ours) -> float:
    """Return an idle dispatcher's share of a core."""
    with system.workers() as pids:
        dispatcher = psutil.Process(pids[1])
        time.sleep(5)
        before = dispatcher.cpu_times()
        time.sleep(_IDLE_SECONDS)
        after = dispatcher.cpu_times()
    return (after.user + after.system - before.user - before.system) / _IDLE_SECONDS
