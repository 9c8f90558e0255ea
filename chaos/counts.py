"""Counts of ended jobs while dispatchers are killed: `python -m chaos.counts --jobs 200000 --kills 20`.

Jobs end at a high rate, in transactions of which some stay open for a while. The active dispatcher is killed repeatedly
during its counts. Then the figures of `/v1/ava/analytics` and `/v1/ava/errors` must equal a count of the table itself,
and `ava db recount` must not change them. Prints the figures, and returns 0 if they are equal.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2

from ava import settings as settings_module
from ava.store.engine import schema
from harness.polling import wait_until
from harness.servers.postgres import running_postgres
from harness.servers.redis import running_redis
from harness.servers.server import private_folder
from harness.system import System

_WRITERS = 4
_BATCH = 250
_NODE = "00000000-0000-7000-8000-000000000001"
#: Seconds that every twentieth transaction stays open after ending its jobs.
_OPEN_SECONDS = 1.5
#: Relative width of the buckets for times.
_PRECISION = 0.02
_BEGIN = """
INSERT INTO jobs (tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by, created_at, started_at,
                  node_id, run_no, attempt, max_attempts)
SELECT 'ten_test', 'wkr_' || n %% 20, CASE WHEN n %% 7 = 0 THEN 'queued' ELSE 'running' END,
    (ARRAY['manual', 'scheduled', 'webhook', 'event'])[1 + n %% 4], 5, 'default', '{}', 'usr_test',
    now() - (300 + n %% 900) * interval '7.3 ms',
    CASE WHEN n %% 7 > 0 THEN now() - n %% 300 * interval '7.1 ms' END, CASE WHEN n %% 7 > 0 THEN %(node)s::uuid END,
    CASE WHEN n %% 7 > 0 THEN 1 ELSE 0 END, CASE WHEN n %% 7 > 0 THEN 1 ELSE 0 END, 1
FROM generate_series(%(first)s, %(last)s) AS n RETURNING id
"""
_END = """
UPDATE jobs AS j SET status = ended.status, completed_at = clock_timestamp(),
    error = CASE WHEN ended.status = 'failed' THEN 'ValueError: no channel ' || ended.n END,
    cancel_requested_at = CASE WHEN ended.status = 'cancelled' THEN now() END,
    stop_status = CASE WHEN ended.status = 'cancelled' THEN 'cancelled' END
FROM (
    SELECT id, n, CASE WHEN n %% 7 = 0 THEN 'cancelled' WHEN n %% 5 = 0 THEN 'failed' ELSE 'completed' END AS status
    FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS e (id, place)
    CROSS JOIN LATERAL (SELECT e.place - 1 + %(first)s) AS t (n)
) AS ended WHERE j.id = ended.id
"""
_BRUTE = """
SELECT worker_id, trigger, status, count(*), count(started_at),
    coalesce(sum(floor(extract(epoch FROM completed_at - started_at) * 1000)), 0)
FROM jobs GROUP BY 1, 2, 3
"""
_HOURS = "SELECT date_trunc('hour', completed_at, 'UTC'), count(*) FROM jobs GROUP BY 1"
_TIMES = """
SELECT extract(epoch FROM completed_at - started_at)::float8 * 1000,
    extract(epoch FROM started_at - created_at)::float8 * 1000
FROM jobs WHERE started_at IS NOT NULL
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.counts", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200_000, help="jobs that end (%(default)s)")
    parser.add_argument("--kills", type=int, default=20, help="how often the active dispatcher is killed (%(default)s)")
    options = parser.parse_args()
    with _running() as system:
        began = time.monotonic()
        wrong = check(system, jobs=options.jobs, kills=options.kills)
        figures = _analytics(system)["jobs"]
        print(f"{options.jobs:,} jobs ended under {options.kills} kills in {time.monotonic() - began:.0f} s: {figures}")
    for difference in wrong:
        print(f"NO: {difference}")
    print("every figure is exact" if not wrong else f"{len(wrong)} figures are wrong")
    return int(bool(wrong))


@contextmanager
def _running() -> Iterator[System]:
    with running_postgres() as postgres, running_redis() as redis, private_folder() as folder:
        schema.upgrade(settings_module.load({"DATABASE_URL": postgres.url, "BROKER_URL": redis.url}))
        system = System(folder, database_url=postgres.url, broker_url=redis.url, api_processes=1)
        try:
            system.start(workers=0, dispatchers=2)
            yield system
        finally:
            system.stop()


def check(system: System, *, jobs: int, kills: int) -> list[str]:
    """End `jobs` on a system with two dispatchers, and kill the active one `kills` times. Returns the errors."""
    rng = random.Random(19)
    rounds = [(number * jobs // (kills + 1) + 1, (number + 1) * jobs // (kills + 1)) for number in range(kills + 1)]
    for number, (first, last) in enumerate(rounds):
        writers = _start_writers(system, first, last)
        if number < kills:
            _kill_active(system, rng.random())
        for writer in writers:
            writer.join()
    wait_until(lambda: _is_counted(system), seconds=120, what="everything is counted")
    wrong = differences(system)
    before = _counted(system)
    system.run("db", "recount")
    if _counted(system) != before:
        wrong.append("`ava db recount` gives other figures")
    return wrong


# Jobs that end -------------------------------------------------------------------------------------------------------


def _start_writers(system: System, first: int, last: int) -> list[threading.Thread]:
    starts = list(range(first, last + 1, _BATCH))
    writers = [
        threading.Thread(target=_end_jobs, args=(system.database_url, starts[number::_WRITERS], last))
        for number in range(_WRITERS)
    ]
    for writer in writers:
        writer.start()
    return writers


def _end_jobs(database_url: str, starts: list[int], last: int) -> None:
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        for number, first in enumerate(starts):
            part = {"first": first, "last": min(first + _BATCH - 1, last), "node": _NODE}
            cursor.execute(_BEGIN, part)
            cursor.execute(_END, part | {"ids": [id_ for (id_,) in cursor.fetchall()]})
            if number % 20 == 3:
                time.sleep(_OPEN_SECONDS)
            connection.commit()


def _kill_active(system: System, delay: float) -> None:
    """Kill the counting dispatcher at a random time, and start another."""
    before = _progress(system)
    wait_until(lambda: _progress(system) > before, seconds=60, what="a dispatcher counts")
    time.sleep(delay)
    active = system.await_dispatcher()
    system.dispatchers.remove(active)
    active.kill()
    system.start_dispatcher()


def _progress(system: System) -> Any:
    return system.query("SELECT counted_to FROM count_progress")[0][0]


def _is_counted(system: System) -> bool:
    return system.query("SELECT counted_to >= (SELECT max(end_no) FROM jobs) FROM count_progress") == [(True,)]


# Figures -------------------------------------------------------------------------------------------------------------


def _analytics(system: System) -> dict[str, Any]:
    data: dict[str, Any] = system.get("/v1/ava/analytics?days=1&group_by=hour&percentiles=true").json()["data"]
    return data


def _counted(system: System) -> dict[str, Any]:
    """Return the counts of analytics without the parts that depend on the time of day: the start, and empty spans."""
    data = _analytics(system)
    return {**data, "since": None, "series": [point for point in data["series"] if point["total"]]}


def differences(system: System) -> list[str]:
    """Return each figure of analytics and errors that differs from a count of the table itself."""
    data, wrong = _analytics(system), []

    def compare(what: str, shown: object, counted: object) -> None:
        if shown != counted:
            wrong.append(f"{what}: {shown}, and {counted} in the table")

    rows = system.query(_BRUTE)
    compare("in total", {name: data["jobs"][name] for name in _figures(rows)}, _figures(rows))
    compare("success_rate", data["jobs"]["success_rate"], _rate(rows))
    for trigger in {row[1] for row in rows} | set(data["jobs"]["by_trigger"]):
        compare(trigger, data["jobs"]["by_trigger"].get(trigger), sum(row[3] for row in rows if row[1] == trigger))
    for worker in {row[0] for row in rows} | set(data["by_worker"]):
        counted = _figures([row for row in rows if row[0] == worker])
        del counted["cancelled"]
        compare(worker, data["by_worker"].get(worker), counted)
    hours = {starts_at.isoformat(): count for starts_at, count in system.query(_HOURS)}
    shown = {point["starts_at"].replace("Z", "+00:00"): point["total"] for point in data["series"] if point["total"]}
    compare("by hour", {at.replace(".000", ""): total for at, total in shown.items()}, hours)
    wrong += _wrong_percentiles(data["percentiles"], system.query(_TIMES))
    failed = sum(row[3] for row in rows if row[2] == "failed")
    groups = system.get("/v1/ava/errors?per_page=100").json()["data"]
    compare("failed jobs in groups", sum(group["count"] for group in groups), failed)
    compare("groups of errors", len(groups), len({row[0] for row in rows if row[2] == "failed"}))
    return wrong


def _figures(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    of = {status: sum(row[3] for row in rows if row[2] == status) for status in ("completed", "failed", "cancelled")}
    ran = sum(row[4] for row in rows)
    average = round(sum(row[5] for row in rows) / ran) if ran else None
    # None of these jobs expires or measures its resource usage.
    return {"total": sum(of.values()), **of, "expired": 0, "avg_duration_ms": average, "cpu_ms": 0, "wait_ms": 0}


def _rate(rows: list[tuple[Any, ...]]) -> float | None:
    figures = _figures(rows)
    return round(100 * figures["completed"] / figures["total"], 1) if figures["total"] else None


def _wrong_percentiles(shown: dict[str, Any], rows: list[tuple[Any, ...]]) -> list[str]:
    wrong = []
    for column, name in enumerate(("run", "wait")):
        times = sorted(row[column] for row in rows)
        for percent in (50, 95, 99):
            exact, found = times[math.ceil(percent / 100 * len(times)) - 1], shown[name][f"p{percent}_ms"]
            if abs(found - exact) > max(_PRECISION * exact, 0.6):
                wrong.append(f"p{percent} of {name}: {found} ms, and {exact:.1f} ms in the table")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
