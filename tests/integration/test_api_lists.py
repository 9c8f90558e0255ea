"""Lists: filters, pages, cursors and counts."""

from __future__ import annotations

from datetime import datetime
from itertools import product
from typing import Any
from urllib.parse import quote, unquote

import pytest

from harness.api import JOBS, Api, error_of, wrong_fields

_SEED = """
INSERT INTO jobs (id, tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by, created_at,
                  max_attempts, completed_at, error, started_at, node_id, run_no, cancel_requested_at,
                  stop_status)
SELECT encode(substring(int8send((extract(epoch FROM at) * 1000)::bigint) FROM 3) || decode('7000800000000000', 'hex')
              || int2send(n::smallint), 'hex')::uuid,
       tenant_id, worker_id, status, trigger, 5, 'default', '{}', 'usr_x', at, 1,
       CASE WHEN status IN ('completed', 'failed', 'cancelled') THEN at END,
       CASE WHEN status = 'failed' THEN 'E: x' END, CASE WHEN status = 'running' THEN at END,
       CASE WHEN status = 'running' THEN gen_random_uuid() END, 1, CASE WHEN status = 'cancelled' THEN at END,
       CASE WHEN status = 'cancelled' THEN status END
FROM (
    SELECT *, '2025-06-01T00:00:00Z'::timestamptz + (n - 1) * interval '1 hour' AS at FROM (
        SELECT row_number() OVER () AS n, *
        FROM unnest(ARRAY['ten_test', 'ten_other']) AS tenant_id, unnest(ARRAY['wkr_open', 'wkr_paused']) AS worker_id,
             unnest(ARRAY['queued', 'running', 'completed', 'failed', 'cancelled']) AS status,
             unnest(ARRAY['manual', 'scheduled', 'webhook', 'event']) AS trigger
    ) AS numbered
) AS dated
"""


def _seed(api: Api) -> None:
    """One job of each worker, status and trigger, an hour apart, and others of another tenant."""
    api.execute(_SEED)


def _all(api: Api, query: str = "") -> list[dict[str, Any]]:
    response = api.get(f"{JOBS}?per_page=100{query}")
    assert response.status_code == 200, response.text
    jobs: list[dict[str, Any]] = response.get_json()["data"]
    assert response.get_json()["pagination"]["total"] == len(jobs)
    return jobs


FILTERS = {
    "worker_id": ["wkr_open", "wkr_none"],
    "status": ["queued", "completed"],
    "trigger": ["manual", "event"],
    "created_after": ["2025-06-01T20:00:00Z"],
    "created_before": ["2025-06-02T10:00:00%2B02:00"],
}


def _matches(job: dict[str, Any], name: str, value: str) -> bool:
    created_at = datetime.fromisoformat(job["created_at"])
    if name == "created_after":
        return created_at >= datetime.fromisoformat(value)
    if name == "created_before":
        return created_at < datetime.fromisoformat(unquote(value))
    return bool(job[name] == value)


def test_every_combination_of_filters_finds_exactly_the_matching_jobs(api: Api) -> None:
    _seed(api)
    everything = _all(api)
    assert len(everything) == 40
    assert everything == sorted(everything, key=lambda job: datetime.fromisoformat(job["created_at"]), reverse=True)
    for values in product(*[[None, *choices] for choices in FILTERS.values()]):
        chosen = {name: value for name, value in zip(FILTERS, values, strict=True) if value}
        found = _all(api, "".join(f"&filter[{name}]={value}" for name, value in chosen.items()))
        assert found == [job for job in everything if all(_matches(job, *filter_) for filter_ in chosen.items())], (
            chosen
        )


def test_bounds_include_the_lower_and_exclude_the_upper(api: Api) -> None:
    first, second, third = (api.trigger()["created_at"] for _ in range(3))
    api.execute("UPDATE jobs SET created_at = date_trunc('milliseconds', created_at)")
    times = [job["created_at"] for job in _all(api, f"&filter[created_after]={second}")]
    assert third in times
    assert second in times
    assert len(times) == 3 - (first != second)
    assert len(_all(api, f"&filter[created_before]={second}")) == (first != second)


def test_brackets_may_be_encoded_or_plain(api: Api) -> None:
    api.trigger()
    for name in ("filter[status]", "filter%5Bstatus%5D", "filter%5bstatus%5d"):
        assert len(api.get(f"{JOBS}?{name}=queued").get_json()["data"]) == 1
        assert api.get(f"{JOBS}?{name}=failed").get_json()["data"] == []


def test_a_plus_before_an_offset_need_not_be_encoded(api: Api) -> None:
    api.trigger()
    assert len(_all(api, "&filter[created_after]=2025-06-01T00:00:00+02:00")) == 1


@pytest.mark.parametrize(
    ("query", "named"),
    [
        # The rest is derived by test_refused_fields.py.
        *[(f"filter[{name}]=x", f"filter[{name}]") for name in ("unknown", "")],
        ("filter=1", "filter"),
        ("status=queued", "status"),
        ("=1", ""),
        ("filter[status]=queued&filter[status]=failed", "filter[status]"),
        ("page=1&page=1", "page"),
        ("filter[worker_id]=wkr_%00", "filter[worker_id]"),
        ("filter[worker_id]=%FF", "filter[worker_id]"),
        ("cursor=x", "cursor"),
        ("cursor=cur_zzzzzzzzzzzzzzzzzzzzzzzzzz", "cursor"),
        ("page=2&cursor=cur_01h455vb4pex5vsknk084sn02q", "cursor"),
        ("page=51&per_page=20", "page"),
        ("filter[created_before]=0001-01-01T00:00:00%2B14:00", "filter[created_before]"),
    ],
)
def test_a_wrong_parameter_is_400_and_named(shared_api: Api, query: str, named: str) -> None:
    assert named in wrong_fields(shared_api.get(f"{JOBS}?{query}"), 400)


@pytest.mark.parametrize("bound", ["0001-01-01", "9999-12-31T23:59:59.999999Z", "1969-12-31T23:59:59Z"])
def test_the_earliest_and_latest_times_are_valid_bounds(shared_api: Api, bound: str) -> None:
    for name in ("created_after", "created_before"):
        assert shared_api.get(f"{JOBS}?filter[{name}]={quote(bound)}").status_code == 200


def test_pages_have_the_jobs_of_their_numbers(api: Api) -> None:
    ids = [api.trigger()["id"] for _ in range(5)][::-1]
    for number in (1, 2, 3):
        response = api.get(f"{JOBS}?per_page=2&page={number}").get_json()
        assert [job["id"] for job in response["data"]] == ids[2 * number - 2 : 2 * number]
        assert response["pagination"] | {"next_cursor": 0} == {
            "page": number, "per_page": 2, "total": 5, "has_more": number < 3, "next_cursor": 0,
        }  # fmt: skip


def test_a_cursor_skips_and_repeats_no_job_while_jobs_are_triggered(api: Api) -> None:
    ids = [api.trigger()["id"] for _ in range(6)][::-1]
    first = api.get(f"{JOBS}?per_page=3").get_json()
    api.trigger()
    second = api.get(f"{JOBS}?per_page=3&cursor={first['pagination']['next_cursor']}").get_json()
    assert [job["id"] for job in first["data"] + second["data"]] == ids


def test_a_total_is_capped_where_pages_end_and_a_cursor_goes_on(api: Api) -> None:
    api.execute(
        """INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts)
        SELECT 'ten_test', 'wkr_open', 'manual', 5, 'default', '{}', 'usr_test', 1 FROM generate_series(1, 1010)"""
    )
    last = api.get(f"{JOBS}?page=10&per_page=100").get_json()
    assert (len(last["data"]), last["pagination"]["total"], last["pagination"]["has_more"]) == (100, 1000, True)
    deeper = api.get(f"{JOBS}?page=11&per_page=100")
    assert deeper.status_code == 400
    assert "use cursor with the next_cursor" in deeper.get_json()["error"]["fields"]["page"][0]
    beyond = api.get(f"{JOBS}?per_page=100&cursor={last['pagination']['next_cursor']}").get_json()
    assert (len(beyond["data"]), beyond["pagination"]["has_more"]) == (10, False)


def test_workers_are_listed_and_shown(api: Api) -> None:
    response = api.get("/v1/ava/workers").get_json()
    assert [worker["id"] for worker in response["data"]] == ["wkr_open", "wkr_paused"]
    worker = api.get("/v1/ava/workers/wkr_open").get_json()["data"]
    assert worker.items() >= response["data"][0].items()
    assert list(worker)[:11] == [
        *("id", "name", "description", "runtime", "status", "timeout_seconds", "max_retries", "queue"),
        *("created_at", "updated_at", "live"),
    ]
    assert (worker["timeout_seconds"], worker["status"], worker["live"]) == (300, "active", False)
    for worker_id in ("wkr_none", "open", "%00", "wkr_theirs"):
        error_of(api.get(f"/v1/ava/workers/{worker_id}"), 404, "resource_not_found")


def test_a_worker_is_live_while_a_node_with_its_handler_sends_heartbeats(api: Api) -> None:
    api.execute(
        "INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes)"
        " VALUES (gen_random_uuid(), 'n', 'h', 1, '0', '{default}', '{wkr_open}', 1)"
    )
    assert api.get("/v1/ava/workers/wkr_open").get_json()["data"]["live"] is True
    api.execute("UPDATE nodes SET seen_at = now() - interval '1 minute'")
    assert api.get("/v1/ava/workers/wkr_open").get_json()["data"]["live"] is False


def test_queues_count_queued_and_running_jobs(api: Api) -> None:
    _seed(api)
    api.trigger(priority=3)
    data = api.get("/v1/ava/queues").get_json()["data"]
    assert data.pop("sampled_at").endswith("Z")
    (queue,) = data.pop("queues")
    assert queue.pop("oldest_seconds") >= 0
    assert queue == {"queue": "default", "queued": 9, "running": 8, "waiting": 0, "paused": None}
    assert data == {
        "total_queued": 9,
        "total_running": 8,
        "total_waiting": 0,
        "by_worker": [
            {"worker_id": "wkr_open", "queued": 5, "running": 4, "high_priority": 1},
            {"worker_id": "wkr_paused", "queued": 4, "running": 4, "high_priority": 0},
        ],
    }
