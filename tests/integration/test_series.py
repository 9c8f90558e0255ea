"""Series of charts: a round writes what jobs and nodes do, once, for each tenant alone, and in bounded space."""

from __future__ import annotations

from typing import Any

import pytest

from ava.dispatcher.duties.statistics import EndedJobs, SeriesRounds
from ava.domain.limits.table import SERIES_ROWS
from ava.store.fleet import nodes
from ava.store.fleet.nodes import NodeSpec
from ava.store.reports import series
from harness.api import NODE, Api, error_of
from harness.timestamps import LATER

SERIES = "/v1/ava/series"
OPERATOR = {"x-platform-role": "platform-admin"}
#: Ended jobs of three workers of the queue `default`, over the last two hours: run times of 10 ms to 990 ms.
_JOBS = """
INSERT INTO jobs (tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by, created_at, started_at,
                  completed_at, node_id, run_no, first_run_no, attempt, max_attempts, error)
SELECT '{tenant}', 'wkr_' || chr(97 + n % 3), status, 'manual', 5, 'default', '{{}}', 'usr_test', created_at,
    created_at + interval '200 ms', created_at + interval '200 ms' + n % 99 * interval '10 ms', '{node}'::uuid, 1, 1,
    1, 1,
    CASE WHEN status = 'failed' THEN (ARRAY['ValueError', 'KeyError'])[1 + n / 4 % 2] || ': no' END
FROM generate_series(1, {count}) AS n CROSS JOIN LATERAL (SELECT
    now() - interval '2 minutes' - n * interval '2 hours' / {count} AS created_at,
    CASE WHEN n % 4 = 0 THEN 'failed' ELSE 'completed' END AS status) AS s
"""


def _insert(api: Api, count: int, *, tenant: str = "ten_test") -> None:
    api.execute(_JOBS.format(count=count, tenant=tenant, node=NODE).replace("%", "%%"), {})


def _round(api: Api, *, max_rows: int = SERIES_ROWS.value) -> None:
    """Count ended jobs, and write a round, as the dispatcher does in each minute."""
    for _ in range(3):
        EndedJobs(api.database).run_once(0)
    with api.database.connect() as connection:
        series.write(connection, max_running=None, dead_after_seconds=14, max_rows=max_rows)


def _read(api: Api, *, headers: dict[str, str | None] | None = None, **query: Any) -> dict[str, Any]:
    answer = api.get(SERIES, query_string={"range_seconds": 10_800} | query, headers=headers)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.get_json()["data"]
    return data


def _sum(values: list[float | None]) -> float:
    return sum(value or 0 for value in values)


def _add_node(api: Api, number: int, version: str | None, *, workers: tuple[str, ...] = ("wkr_a",)) -> None:
    id_ = f"00000000-0000-7000-8000-{number:012}"
    with api.database.connect() as connection:
        nodes.register(
            connection,
            NodeSpec(
                id=id_, name=id_, host="h", pid=1, version="1", code_version=version, queues=["default"],
                workers=list(workers), processes=8,
            ),
        )  # fmt: skip
    api.execute(
        f"UPDATE nodes SET started_at = now() - interval '9 minutes' + {number} * interval '1 min' WHERE id = '{id_}'"
    )


def test_ended_jobs_add_up_by_outcome_worker_and_queue(api: Api) -> None:
    for worker in ("wkr_a", "wkr_b", "wkr_c"):
        api.announce(worker)
    _insert(api, 1_200)
    _round(api)
    data = _read(api)
    assert list(data) == [
        *("since", "until", "step_seconds", "counted_until", "ended", "start", "run", "running", "max_running"),
        *("backlog", "failures", "marks"),
    ]
    assert {len(values) for values in [*data["ended"].values(), *data["run"].values(), data["running"]]} == {181}
    assert [_sum(data["ended"][name]) for name in ("completed", "failed", "cancelled")] == [900, 300, 0]
    # A round that is repeated, or that counts a minute again, changes nothing.
    _round(api)
    assert _read(api)["ended"] == data["ended"]
    parts = [_read(api, **{"filter[worker_id]": f"wkr_{letter}"})["ended"] for letter in "abc"]
    assert [sum(_sum(part[name]) for part in parts) for name in ("completed", "failed")] == [900, 300]
    assert _read(api, **{"filter[queue]": "default"})["ended"]["failed"] == data["ended"]["failed"]
    assert _sum(_read(api, **{"filter[queue]": "other"})["ended"]["completed"]) == 0
    # Jobs that no round has stored yet are read from their counts.
    api.execute("DELETE FROM series")
    assert _sum(_read(api)["ended"]["failed"]) == 300


def test_percentiles_are_within_the_bucket_of_the_exact_ones(api: Api) -> None:
    _insert(api, 600)
    _round(api)
    data = _read(api, range_seconds=7_200)
    waits = [value for value in data["start"]["p95_ms"] if value is not None]
    assert len(waits) > 100
    assert all(100 < value <= 250 for value in waits)
    runs = [value for value in data["run"]["p50_ms"] if value is not None]
    assert max(runs) <= 1_000
    middle, highest = data["run"]["p50_ms"], data["run"]["p99_ms"]
    assert all(a is b is None or a <= b for a, b in zip(middle, highest, strict=True))


def test_failures_are_counted_by_the_kind_of_their_error(api: Api) -> None:
    _insert(api, 800)
    _round(api)
    data = _read(api)
    assert {each["kind"]: _sum(each["jobs"]) for each in data["failures"]} == {"ValueError": 100, "KeyError": 100}
    of_worker = _read(api, **{"filter[worker_id]": "wkr_a"})["failures"]
    assert 0 < sum(_sum(each["jobs"]) for each in of_worker) < 200


def test_running_and_waiting_jobs_are_sampled_with_the_limit(api: Api) -> None:
    for priority in (2, 2, 5, 5, 5, 9):
        api.trigger(priority=priority)
    api.execute(
        f"UPDATE jobs SET status = 'running', started_at = now(), node_id = '{NODE}', run_no = 1, attempt = 1,"
        " published_at = NULL WHERE priority = 2"
    )
    api.execute("UPDATE jobs SET published_at = NULL, waits_for = 'permit', limit_key = 'wkr_open' WHERE priority = 9")
    api.execute("UPDATE jobs SET published_at = NULL WHERE id IN (SELECT id FROM jobs WHERE priority = 5 LIMIT 2)")
    api.execute("UPDATE workers SET max_running = 7 WHERE id = 'wkr_open'")
    api.trigger(priority=3, scheduled_at=LATER)
    _round(api)
    data = _read(api)
    backlog = {(each["queue"], each["priority"]): max(filter(None, each["jobs"])) for each in data["backlog"]}
    assert backlog == {("default", 5): 3, ("default", 9): 1}
    assert [value for value in data["running"] if value is not None] == [2]
    of_worker = _read(api, **{"filter[worker_id]": "wkr_open"})
    assert [value for value in of_worker["max_running"] if value is not None] == [7]
    assert of_worker["backlog"] == []
    api.execute("UPDATE jobs SET published_at = NULL, waits_for = 'queue' WHERE priority = 5")
    api.execute("DELETE FROM series")
    _round(api)
    assert max(filter(None, _read(api)["backlog"][0]["jobs"])) == 3


def test_hours_are_summed_up_and_old_rows_deleted(api: Api) -> None:
    _insert(api, 900)
    api.execute("UPDATE jobs SET created_at = created_at - interval '20 hours', started_at = started_at - interval"
                " '20 hours', completed_at = completed_at - interval '20 hours' WHERE worker_id = 'wkr_a'")  # fmt: skip
    _round(api)
    week = {"range_seconds": 7 * 86_400}
    before = _read(api, **week)
    assert before["step_seconds"] == 3_600
    assert _sum(before["ended"]["completed"]) == 675
    _round(api)
    assert api.execute("SELECT count(*) > 2 FROM series WHERE span = 'hour' AND kind = 'worker'") == [(True,)]
    # Minutes after the last complete hour are added to it.
    after = _read(api, **week)
    assert after["ended"] == before["ended"]
    assert after["run"] == before["run"]
    assert after["failures"] == before["failures"]
    moved = "UPDATE series SET starts_at = starts_at - interval '{}' WHERE span = '{}' AND kind = 'worker'"
    api.execute(moved.format("3 days", "minute"))
    api.execute(moved.format("91 days", "hour"))
    _round(api)
    old = "(span = 'minute' AND starts_at < now() - interval '2 days') OR starts_at < now() - interval '90 days'"
    assert api.execute(f"SELECT count(*) FROM series WHERE {old}") == [(0,)]


def test_a_tenant_reads_its_own_series_and_an_operator_those_of_all(api: Api) -> None:
    _insert(api, 40)
    _insert(api, 80, tenant="ten_other")
    _round(api)
    assert _sum(_read(api)["ended"]["completed"]) == 30
    other = {"filter[tenant_id]": "ten_other"}
    for query in (other, {"scope": "platform"}):
        error_of(api.get(SERIES, query_string=query), 403, "forbidden")
    assert _sum(_read(api, headers=OPERATOR, **other)["ended"]["completed"]) == 60
    assert _sum(_read(api, headers=OPERATOR, scope="platform")["ended"]["completed"]) == 90
    # Without its own jobs a tenant has no rows at all.
    assert _read(api, headers={"x-tenant-id": "ten_none"})["backlog"] == []
    assert api.execute("SELECT DISTINCT tenant_id FROM series ORDER BY 1") == [("*",), ("ten_other",), ("ten_test",)]


def test_deploys_and_pauses_are_marks(api: Api) -> None:
    _round(api)
    for number, version in enumerate(("v1", "v1", "v2", "v2"), 1):
        _add_node(api, number, version)
    _add_node(api, 5, "others-3", workers=("wkr_b",))
    api.announce("wkr_a")
    api.post("/v1/ava/queues/default/pause", headers=OPERATOR, json={"reason": "x"})
    api.set_status("wkr_a", "paused")
    _round(api)
    marks = _read(api)["marks"]
    assert [mark["name"] for mark in marks if mark["type"] == "deploy"] == ["v1", "v2", "others-3"]
    assert {(mark["type"], mark["name"], mark["ends_at"]) for mark in marks if mark["type"] != "deploy"} >= {
        ("queue_pause", "default", None),
        ("worker_pause", "wkr_a", None),
    }
    of_worker = _read(api, **{"filter[worker_id]": "wkr_open"})["marks"]
    assert "worker_pause" not in {mark["type"] for mark in of_worker}
    # A node that starts with the version of the others is no deploy; a return to the version before is one.
    _add_node(api, 6, "v2")
    _add_node(api, 7, "v1")
    api.execute("UPDATE series SET ends_at = ends_at - interval '10 minutes' WHERE kind = 'pause'")
    api.post("/v1/ava/queues/default/resume", headers=OPERATOR)
    _round(api)
    marks = _read(api)["marks"]
    assert [mark["name"] for mark in marks if mark["type"] == "deploy"][-2:] == ["others-3", "v1"]
    assert [mark["ends_at"] is None for mark in marks if mark["name"] == "default"] == [False]


def test_a_tenant_has_only_the_busiest_rows_of_a_minute(api: Api) -> None:
    _insert(api, 600)
    _round(api, max_rows=2)
    rows = (
        "SELECT max(c) FROM (SELECT count(*) AS c FROM series WHERE span = 'minute' GROUP BY tenant_id, starts_at) AS c"
    )
    assert api.execute(rows) == [(2,)]
    # The sums of all workers are always among them.
    assert _sum(_read(api)["ended"]["completed"]) == 450


@pytest.mark.parametrize(
    "query",
    [
        {"range_seconds": 59},
        {"range_seconds": 90 * 86_400 + 1},
        {"filter[worker_id]": "x"},
        {"filter[queue]": "a\0b"},
        {"scope": "all"},
        {"since": "2026-01-02", "until": "2026-01-01"},
    ],
)
def test_an_invalid_range_or_filter_is_refused(api: Api, query: dict[str, Any]) -> None:
    assert api.get(SERIES, query_string=query).status_code == 400


def test_a_round_is_due_after_each_minute_and_rests_after_a_slow_one(api: Api) -> None:
    rounds = SeriesRounds(api.database, max_running=None, node_dead_seconds=14)
    assert rounds.run_once(0) >= 1
    assert 5 <= rounds.pause_seconds() <= 66
    rounds._took_seconds = 30
    assert rounds.pause_seconds() == 150
