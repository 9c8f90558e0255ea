"""Reads that are bounded: what they still find, and where they stop."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from ava.domain.explanation import MOST_EXAMINED
from ava.store import explaining, queue_counts, reads
from tests.api import NODE, Api

_QUEUED = """
INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts, published_at)
SELECT %s, %s, (ARRAY['manual', 'event'])[1 + n %% 2], %s, 'default', '{}', 'usr_x', 1, CASE WHEN n <= 2 THEN now() END
FROM generate_series(1, %s) AS n
"""


def _queue(api: Api, worker_id: str, *, count: int, priority: int = 5, tenant_id: str = "ten_test") -> None:
    api.execute(_QUEUED, tenant_id, worker_id, priority, count)


def _queues(api: Api) -> dict[str, Any]:
    data: dict[str, Any] = api.get("/v1/ava/queues").get_json()["data"]
    return data


def test_queues_are_counted_by_worker_whatever_others_have(api: Api) -> None:
    _queue(api, "wkr_a", count=4, priority=3)
    _queue(api, "wkr_a", count=5, priority=4)
    _queue(api, "wkr_c", count=2, priority=1)
    _queue(api, "wkr_b", count=7, tenant_id="ten_other")
    api.execute(
        "UPDATE jobs SET status = 'running', started_at = now(), run_no = 1, node_id = %s WHERE priority = 1", NODE
    )
    assert _queues(api)["by_worker"] == [
        {"worker_id": "wkr_a", "queued": 9, "running": 0, "high_priority": 4},
        {"worker_id": "wkr_c", "queued": 0, "running": 2, "high_priority": 0},
    ]


def test_the_queued_of_one_worker_are_counted_up_to_a_bound(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_counts, "MOST_COUNTED", 10)
    _queue(api, "wkr_a", count=25)
    _queue(api, "wkr_b", count=3)
    assert [each["queued"] for each in _queues(api)["by_worker"]] == [10, 3]
    assert _queues(api)["total_queued"] == 13


def test_a_created_at_is_the_moment_in_the_id(api: Api) -> None:
    answer = api.post(
        "/v1/ava/jobs/bulk", json={"jobs": [{"worker_id": "wkr_open", "input": {"n": n}} for n in range(50)]}
    )
    records = answer.get_json()["data"]
    assert [record["input"]["n"] for record in records] == list(range(50))
    assert [record["id"] for record in records] == sorted(record["id"] for record in records)
    differing = (
        "extract(epoch FROM created_at) * 1000 <> ('x' || left(translate(id::text, '-', ''), 12))::bit(48)::bigint"
    )
    assert api.execute(f"SELECT count(*) FROM jobs WHERE {differing.replace('%', '%%')}") == [(0,)]


@pytest.mark.parametrize("level", [None, "info", "warn", "error"])
def test_a_level_of_a_log_is_found_from_any_place_on(api: Api, level: str | None) -> None:
    job = api.trigger()
    api.execute(
        "INSERT INTO job_logs (job_id, seq, ts, level, msg)"
        " SELECT id, n, now(), (ARRAY['info', 'info', 'warn', 'error'])[1 + n % 4], n::text"
        " FROM jobs, generate_series(0, 99) AS n".replace("%", "%%")
    )
    path = f"/v1/ava/jobs/{job['id']}/logs?limit=7" + (f"&filter[level]={level}" if level else "")
    found: list[str] = []
    cursor = ""
    while lines := (answer := api.get(path + cursor).get_json())["data"]["logs"]:
        found += [line["msg"] for line in lines]
        cursor = f"&after={answer['pagination']['next_cursor']}"
    levels = ["info", "info", "warn", "error"]
    assert found == [str(n) for n in range(100) if level in (None, levels[n % 4])]


def test_what_is_ahead_of_a_job_is_what_starts_before_it(api: Api) -> None:
    _queue(api, "wkr_open", count=3, priority=1)
    _queue(api, "wkr_open", count=5, priority=5)
    _queue(api, "wkr_open", count=4, priority=5, tenant_id="ten_other")
    job = api.trigger(priority=5)
    _queue(api, "wkr_open", count=6, priority=5)
    _queue(api, "wkr_open", count=6, priority=9)
    with api.database.connect() as connection:
        found = reads.show(connection, tenant_id="ten_test", job_id=job["id"])
        assert found is not None
        facts = explaining.facts(connection, found, dead_after_seconds=14)
        assert (facts.ahead, facts.ahead_of_all) == (8, 12)
        assert MOST_EXAMINED > 12
        api.execute("UPDATE jobs SET status = 'cancelled', cancel_requested_at = now(), completed_at = now()")
        ended = reads.show(connection, tenant_id="ten_test", job_id=job["id"])
        assert ended is not None
        facts = explaining.facts(connection, ended, dead_after_seconds=14)
        assert (facts.ahead, facts.ahead_of_all) == (0, 0)


@pytest.mark.parametrize(
    ("moment", "first"),
    [
        ("2025-06-01T10:00:00.123Z", "2025-06-01T10:00:00.123Z"),
        ("2025-06-01T10:00:00.123001Z", "2025-06-01T10:00:00.124Z"),
        ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
    ],
)
def test_the_first_id_of_a_moment_is_exact_to_the_millisecond(moment: str, first: str) -> None:
    from ava.domain import ids

    milliseconds = ids.first_uuid(datetime.fromisoformat(moment)).int >> 80
    assert milliseconds == round(datetime.fromisoformat(first).timestamp() * 1000)
