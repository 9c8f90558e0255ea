"""Analytics: ended jobs, each counted once, and how they add up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from ava.dispatcher.duties.statistics import EndedJobs
from ava.domain.analytics import EndedCounts, bucket_ms, percentiles
from ava.services.reports import recount
from ava.settings import Settings
from ava.store.engine import schema
from ava.store.reports import analytics, statistics
from harness.api import NODE, Api
from harness.polling import wait_until
from harness.servers.clock import SteppedClock
from harness.servers.postgres import running_postgres
from harness.servers.server import Server, private_folder
from tests.conftest import available

ANALYTICS = "/v1/ava/analytics"
#: Jobs of three workers, all triggers and statuses, over the last ten days. Every seventh was cancelled before it ran.
_JOBS = """
INSERT INTO jobs (tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by, created_at, started_at,
                  completed_at, node_id, run_no, attempt, max_attempts, error, cancel_requested_at,
                  stop_status)
SELECT 'ten_test', 'wkr_' || chr(97 + n % 3), status,
    (ARRAY['manual', 'scheduled', 'webhook'])[1 + n % 3], 5, 'default',
    '{{}}', 'usr_test', created_at, CASE WHEN n % 7 > 0 THEN created_at + n % 50 * interval '7 ms' END,
    created_at + n % 50 * interval '7 ms' + (n % 997) * interval '1.3 ms',
    CASE WHEN n % 7 > 0 THEN '{node}'::uuid END, 1,
    CASE WHEN n % 7 > 0 THEN 1 ELSE 0 END, 1,
    CASE WHEN status = 'failed' THEN 'E: x' END,
    CASE WHEN status = 'cancelled' THEN now() END, CASE WHEN status = 'cancelled' THEN status END
FROM generate_series(1, {count}) AS n CROSS JOIN LATERAL (SELECT
    now() - interval '1 minute' - n * interval '10 days' / {count} AS created_at,
    CASE WHEN n % 7 = 0 THEN 'cancelled' WHEN n % 5 = 0 THEN 'failed' ELSE 'completed' END AS status) AS s
"""


def _insert(api: Api, count: int) -> None:
    api.execute(_JOBS.format(count=count, node=NODE).replace("%", "%%"), {})


def _read(api: Api, **query: Any) -> dict[str, Any]:
    response = api.get(ANALYTICS, query_string=query)
    assert response.status_code == 200, response.text
    data: dict[str, Any] = response.get_json()["data"]
    return data


def _brute(api: Api, **query: Any) -> list[tuple[Any, ...]]:
    return api.execute(
        "SELECT worker_id, trigger, status,"
        " floor(extract(epoch FROM completed_at - started_at) * 1000)::float8,"
        " extract(epoch FROM started_at - created_at)::float8 * 1000 FROM jobs WHERE completed_at >= %s",
        query["since"],
    )


def test_figures_are_those_of_a_brute_force_count(api: Api) -> None:
    _insert(api, 3_000)
    EndedJobs(api.database).run_once(0)
    data = _read(api, days=7, percentiles="true", group_by="day")
    assert list(data) == ["period_days", "since", "jobs", "by_worker", "series", "percentiles"]
    since = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=7)
    assert datetime.fromisoformat(data["since"]) == since
    rows = _brute(api, since=since)
    assert list(data["jobs"]) == [
        *("total", "completed", "failed", "cancelled", "expired", "success_rate", "avg_duration_ms", "by_trigger"),
        *("cpu_ms", "wait_ms"),
    ]
    _compare(data["jobs"], rows)
    assert data["jobs"]["by_trigger"] == {
        name: sum(row[1] == name for row in rows) for name in ("manual", "scheduled", "webhook")
    }
    assert set(data["by_worker"]) == {"wkr_a", "wkr_b", "wkr_c"}
    for worker, counts in data["by_worker"].items():
        assert list(counts) == ["total", "completed", "failed", "expired", "avg_duration_ms", "cpu_ms", "wait_ms"]
        _compare(counts, [row for row in rows if row[0] == worker])
    assert sum(point["total"] for point in data["series"]) == len(rows)
    assert data["series"][0]["starts_at"] == data["since"]
    assert len(data["series"]) == 8
    for name, column in (("run", 3), ("wait", 4)):
        times = sorted(float(row[column]) for row in rows if row[column] is not None)
        for percent, key in ((50, "p50_ms"), (95, "p95_ms"), (99, "p99_ms")):
            exact = times[math.ceil(percent / 100 * len(times)) - 1]
            assert data["percentiles"][name][key] == pytest.approx(exact, rel=0.02, abs=0.6)
    # Nothing is counted twice, and one worker's figures are a part of the whole.
    EndedJobs(api.database).run_once(0)
    assert _read(api, days=7, percentiles="true", group_by="day") == data
    one = _read(api, days=7, group_by="hour", percentiles="true", **{"filter[worker_id]": "wkr_b"})
    assert one["by_worker"] == {"wkr_b": data["by_worker"]["wkr_b"]}
    assert one["jobs"]["total"] == sum(point["total"] for point in one["series"])


def _compare(counts: dict[str, Any], rows: list[tuple[Any, ...]]) -> None:
    statuses = [row[2] for row in rows]
    durations = [row[3] for row in rows if row[3] is not None]
    assert counts["total"] == len(rows)
    assert counts["completed"] == statuses.count("completed")
    assert counts["failed"] == statuses.count("failed")
    assert counts["avg_duration_ms"] == round(sum(durations) / len(durations))
    if "success_rate" in counts:
        assert counts["success_rate"] == round(100 * statuses.count("completed") / len(rows), 1)


def test_of_nothing_there_is_no_average_and_no_rate(api: Api) -> None:
    data = _read(api, percentiles="true")
    assert data["period_days"] == 30
    assert data["jobs"] == {
        "total": 0,
        "completed": 0,
        "failed": 0,
        "cancelled": 0,
        "expired": 0,
        "success_rate": None,
        "avg_duration_ms": None,
        "by_trigger": {},
        "cpu_ms": 0,
        "wait_ms": 0,
    }
    assert data["by_worker"] == {}
    assert data["percentiles"]["run"] == {"p50_ms": None, "p95_ms": None, "p99_ms": None}
    assert "percentiles" not in _read(api)


def test_a_recount_mends_the_counts_of_the_jobs_that_are_kept(api: Api) -> None:
    _insert(api, 500)
    EndedJobs(api.database).run_once(0)
    right = _read(api, days=7, percentiles="true")
    api.execute("UPDATE job_counts SET completed = completed + 5 WHERE starts_at >= now() - interval '8 days'")
    api.execute("DELETE FROM job_time_histograms")
    assert _read(api, days=7, percentiles="true") != right
    counted = dict(recount(api.database, retention_days=30))
    assert sum(counted.values()) == 500
    assert _read(api, days=7, percentiles="true") == right
    # Days that retention has reached keep what was counted of them.
    api.execute("DELETE FROM jobs WHERE completed_at < now() - interval '3 days'")
    list(recount(api.database, retention_days=3))
    assert _read(api, days=7, percentiles="true") == right


_HISTOGRAMS = "SELECT * FROM job_time_histograms ORDER BY tenant_id, worker_id, day, kind"


def test_times_counted_in_many_batches_are_those_counted_in_one(api: Api) -> None:
    _insert(api, 500)
    wait_until(
        lambda: (
            EndedJobs(api.database, max_jobs=60).run_once(0) == 0
            and api.execute("SELECT sum(jobs)::integer FROM job_totals") == [(500,)]
        ),
        seconds=60,
        what="every batch is counted",
    )
    found = api.execute(_HISTOGRAMS)
    assert all(buckets == sorted(set(buckets)) for *_, buckets, _jobs in found)
    assert sum(dict(recount(api.database, retention_days=30)).values()) == 500
    assert api.execute(_HISTOGRAMS) == found


def test_old_counts_are_deleted(api: Api) -> None:
    _insert(api, 20)
    EndedJobs(api.database).run_once(0)
    api.execute("UPDATE job_counts SET starts_at = starts_at - interval '95 days'")
    api.execute("UPDATE job_time_histograms SET day = day - interval '95 days'")
    with api.database.connect() as connection:
        assert analytics.delete_old(connection, limit=10_000) > 0
        assert statistics.delete_old_times(connection, limit=10_000) > 0
    assert api.execute("SELECT count(*) FROM job_counts UNION ALL SELECT count(*) FROM job_time_histograms") == [
        (0,),
        (0,),
    ]


_END = (
    f"UPDATE jobs SET status = 'completed', started_at = now(), node_id = '{NODE}', run_no = 1, attempt = 1,"
    " completed_at = clock_timestamp() WHERE priority = %(priority)s"
)


def test_an_end_whose_commit_takes_long_is_counted_and_holds_back_those_after_it(api: Api) -> None:
    job = api.trigger(priority=1)
    api.trigger(priority=2)
    with api.database.transaction() as connection:
        connection.exec_driver_sql(_END, {"priority": 1})
        api.execute(_END % {"priority": 2})
        for _ in range(3):
            EndedJobs(api.database).run_once(0)
        assert _read(api)["jobs"]["total"] == 0
    EndedJobs(api.database).run_once(0)
    assert _read(api)["jobs"]["total"] == 2
    assert api.get(f"/v1/ava/jobs/{job['id']}").get_json()["data"]["status"] == "completed"


def test_an_end_of_the_newest_transaction_of_all_is_counted(api: Api) -> None:
    api.trigger(priority=1)
    with api.database.transaction() as connection:
        # None that began later is over, so the transaction is beyond the `xmax` of each snapshot.
        connection.exec_driver_sql(_END, {"priority": 1})
        for _ in range(3):
            EndedJobs(api.database).run_once(0)
    EndedJobs(api.database).run_once(0)
    assert _read(api)["jobs"]["total"] == 1


def test_a_writer_in_another_database_holds_nothing_back(api: Api, postgres_server: Server) -> None:
    api.trigger(priority=1)
    with closing(psycopg2.connect(postgres_server.url)) as other, other.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE written (n integer)")
        api.execute(_END % {"priority": 1})
        EndedJobs(api.database).run_once(0)
        assert _read(api)["jobs"]["total"] == 1


def test_a_job_that_ends_before_those_already_counted_is_counted(api: Api) -> None:
    for hours in (5, -5, 3, -3, 0):
        api.trigger(priority=1)
        timestamp = f"clock_timestamp() + interval '{hours} hours'"
        end = (_END % {"priority": 1}).replace("clock_timestamp()", timestamp)
        api.execute(f"{end} AND status = 'queued'")
        EndedJobs(api.database).run_once(0)
    assert api.execute("SELECT sum(jobs)::integer FROM job_totals") == [(5,)]
    hours = api.execute("SELECT completed::integer FROM job_counts WHERE span = 'hour' AND worker_id = ''")
    assert hours == [(1,)] * 5


@contextmanager
def _stepped_postgres() -> Iterator[tuple[Server, SteppedClock]]:
    with private_folder() as folder:
        clock = SteppedClock(folder)
        with running_postgres(environ=clock.environ) as server:
            yield server, clock


def test_each_end_is_counted_once_while_the_clock_of_postgresql_steps(database_settings: Settings) -> None:
    with available(_stepped_postgres()) as (server, clock):
        settings = replace(database_settings, database_url=server.url)
        schema.upgrade(settings)
        with Api.running(settings) as api:
            for number, seconds in enumerate((0, 60, 0, -60, 60, 0), start=1):
                clock.step(seconds)
                api.trigger(priority=1)
                api.execute(f"{_END % {'priority': 1}} AND status = 'queued'")
                EndedJobs(api.database).run_once(0)
                assert _read(api)["jobs"]["total"] == number


def test_what_a_dump_restores_on_a_younger_server_goes_on_where_it_was(api: Api) -> None:
    api.trigger(priority=1)
    api.execute("UPDATE count_progress SET high_water_before = high_water_before + 1000000000")
    api.execute(_END % {"priority": 1})
    EndedJobs(api.database).run_once(0)
    assert _read(api)["jobs"]["total"] == 1


def test_rates_and_averages_are_rounded_as_on_the_page() -> None:
    assert EndedCounts(completed=1791, failed=49).success_rate == 97.3
    assert EndedCounts(completed=2, ran=2, ran_ms=3).avg_duration_ms == 2


def test_the_middle_of_a_bucket_is_within_two_percent_of_every_time_in_it() -> None:
    for milliseconds in (0.05, 0.4, 1, 7.7, 123, 4_567, 3_600_000, 90 * 24 * 3_600_000):
        bucket = max(0, math.ceil(math.log(milliseconds * 1000) / math.log(1.035)))
        assert bucket_ms(bucket) == pytest.approx(milliseconds, rel=0.02)
    assert percentiles({10: 98, 500: 2}).p99_ms == bucket_ms(500)
    assert percentiles({10: 98, 500: 2}).p95_ms == bucket_ms(10)
