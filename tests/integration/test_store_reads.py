"""Bounded reads: what they find, and where they stop."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from ava.domain import ids
from ava.domain.jobs.explanation import MAX_EXAMINED
from ava.domain.jobs.job import Status, Trigger
from ava.domain.jobs.job_filter import JobFilter
from ava.store.jobs.reads import lists, why
from ava.store.reports import queue_counts
from harness.api import NODE, Api

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


def test_queued_jobs_are_counted_by_worker_within_the_tenant(api: Api) -> None:
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


def test_queued_jobs_of_one_worker_are_counted_up_to_a_limit(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_counts, "MAX_COUNTED_OF_WORKER", 10)
    _queue(api, "wkr_a", count=25)
    _queue(api, "wkr_b", count=3)
    assert [each["queued"] for each in _queues(api)["by_worker"]] == [10, 3]
    assert _queues(api)["total_queued"] == 13


def test_created_at_is_the_time_in_the_id(api: Api) -> None:
    response = api.post(
        "/v1/ava/jobs/bulk", json={"jobs": [{"worker_id": "wkr_open", "input": {"n": n}} for n in range(50)]}
    )
    records = response.get_json()["data"]
    assert [record["input"]["n"] for record in records] == list(range(50))
    assert [record["id"] for record in records] == sorted(record["id"] for record in records)
    differing = (
        "extract(epoch FROM created_at) * 1000 <> ('x' || left(translate(id::text, '-', ''), 12))::bit(48)::bigint"
    )
    assert api.execute(f"SELECT count(*) FROM jobs WHERE {differing.replace('%', '%%')}") == [(0,)]


def test_lines_of_a_level_are_found_after_any_cursor(api: Api) -> None:
    job = api.trigger()
    api.execute(
        "INSERT INTO job_logs (tenant_id, job_id, seq, times, levels, msgs)"
        # Rows of sixteen lines, of four, and of one.
        " SELECT tenant_id, id, min(n), array_agg(now()),"
        " string_agg((ARRAY['i', 'i', 'w', 'e'])[1 + n % 4], '' ORDER BY n), array_agg(n::text ORDER BY n)"
        " FROM jobs, generate_series(0, 99) AS n"
        " GROUP BY tenant_id, id, CASE WHEN n < 48 THEN n / 16 WHEN n < 80 THEN 100 + n / 4 ELSE 200 + n END".replace(
            "%", "%%"
        )
    )
    levels = ["info", "info", "warn", "error"]
    for level in (None, *levels[1:]):
        path = f"/v1/ava/jobs/{job['id']}/logs?limit=7" + (f"&filter[level]={level}" if level else "")
        found: list[str] = []
        cursor = ""
        while lines := (response := api.get(path + cursor).get_json())["data"]["logs"]:
            found += [line["msg"] for line in lines]
            cursor = f"&after={response['pagination']['next_cursor']}"
        assert found == [str(n) for n in range(100) if level in (None, levels[n % 4])]


def test_jobs_ahead_are_those_that_start_earlier(api: Api) -> None:
    _queue(api, "wkr_open", count=3, priority=1)
    _queue(api, "wkr_open", count=5, priority=5)
    _queue(api, "wkr_open", count=4, priority=5, tenant_id="ten_other")
    job = api.trigger(priority=5)
    _queue(api, "wkr_open", count=6, priority=5)
    _queue(api, "wkr_open", count=6, priority=9)
    with api.database.connect() as connection:
        found = lists.show(connection, tenant_id="ten_test", job_id=job["id"])
        assert found is not None
        facts = why.read_facts(connection, found, dead_after_seconds=14)
        assert (facts.ahead, facts.ahead_of_all) == (8, 12)
        assert MAX_EXAMINED > 12
        api.execute(
            "UPDATE jobs SET status = 'cancelled', cancel_requested_at = now(),"
            " stop_status = 'cancelled', completed_at = now()"
        )
        ended = lists.show(connection, tenant_id="ten_test", job_id=job["id"])
        assert ended is not None
        facts = why.read_facts(connection, ended, dead_after_seconds=14)
        assert (facts.ahead, facts.ahead_of_all) == (0, 0)


def test_why_counts_the_processes_that_run_other_jobs_and_names_the_longest_run(api: Api) -> None:
    node = "00000000-0000-7000-8000-000000000009"
    api.execute(
        "INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes)"
        f" VALUES ('{node}', 'n', 'h', 1, '0', '{{default}}', '{{wkr_open}}', 2)"
    )
    api.trigger(headers={"x-user-id": "usr_own"})
    api.trigger(headers={"x-user-id": "usr_other", "x-tenant-id": "ten_other"})
    path = f"/v1/ava/jobs/{api.trigger()['id']}/why"
    for user, minutes in (("usr_own", 12), ("usr_other", 40)):
        api.execute(
            "UPDATE jobs SET status = 'running', waits_for = NULL, run_no = 1, attempt = 1, node_id = %s,"
            " started_at = now() - %s * interval '1 minute', claim_id = gen_random_uuid() WHERE triggered_by = %s",
            *(node, minutes, user),
        )
    found = api.get(path).get_json()["data"]
    assert "2 processes, all busy, the longest for 12 min" in found["sentence"]
    assert (found["facts"]["busy"], found["facts"]["estimate_seconds"]) == (2, None)
    as_operator = api.get(path, headers={"x-platform-role": "platform-admin"}).get_json()["data"]
    assert "2 processes, all busy, the longest for 40 min" in as_operator["sentence"]
    api.execute("UPDATE nodes SET processes = 3")
    assert "3 processes, no estimate" in api.get(path).get_json()["data"]["sentence"]


# Deep pages -----------------------------------------------------------------------------------------------------------

_ANY_KIND = """
INSERT INTO jobs (tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by, max_attempts, run_no,
                  started_at, completed_at, error, node_id, cancel_requested_at, stop_status)
SELECT 'ten_test', worker_id, status, trigger, 5, 'default', '{}', 'usr_x', 1, 1,
       CASE WHEN status <> 'queued' THEN now() END,
       CASE WHEN status IN ('completed', 'failed', 'cancelled') THEN now() END,
       CASE WHEN status = 'failed' THEN 'E: x' END, CASE WHEN status = 'running' THEN gen_random_uuid() END,
       CASE WHEN status = 'cancelled' THEN now() END, CASE WHEN status = 'cancelled' THEN status END
FROM unnest(%s::text[], %s::text[], %s::text[]) AS kinds (worker_id, status, trigger)
"""


def _kinds(rng: random.Random, count: int) -> list[tuple[str, str, str]]:
    """Returns random workers, statuses and triggers, some much more frequent than others."""
    workers, statuses, triggers = ["wkr_a", "wkr_b"], [s.value for s in Status], [t.value for t in Trigger]
    for values in (workers, statuses, triggers):
        rng.shuffle(values)
    return [
        (
            workers[int(rng.random() ** 2 * 2)],
            statuses[int(rng.random() ** 3 * len(statuses))],
            triggers[int(rng.random() ** 3 * len(triggers))],
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_deep_page_has_the_right_jobs_for_any_distribution(api: Api, seed: int) -> None:
    rng = random.Random(seed)
    # Two distributions: a range that is dense at one depth may be empty at another.
    kinds = [*_kinds(rng, 1_200), *_kinds(rng, 1_200)]
    api.execute(_ANY_KIND, *(list(values) for values in zip(*kinds, strict=True)))
    jobs = api.execute("SELECT id::text, worker_id, status, trigger FROM jobs ORDER BY id DESC")
    _, status, trigger = Counter(kinds).most_common(1)[0][0]
    filters = [
        JobFilter(),
        JobFilter(worker_id="wkr_a"),
        JobFilter(status=Status(status)),
        JobFilter(status=Status(status), trigger=Trigger(trigger)),
    ]
    with api.database.connect() as connection:
        for job_filter in filters:
            wanted = [job[0] for job in jobs if _passes(job, job_filter)]
            for offset in (150, 179, 180, 300, 500, 700, 980):
                found = lists.page(
                    connection, tenant_id="ten_test", job_filter=job_filter, limit=20, offset=offset
                ).jobs
                assert [str(ids.decode("job", job.id)) for job in found] == wanted[offset : offset + 20]
            before = ids.encode("job", jobs[100][0])
            found = lists.page(
                connection, tenant_id="ten_test", job_filter=job_filter, limit=20, offset=200, before_id=before
            ).jobs
            older = [id_ for id_ in wanted if id_ < jobs[100][0]]
            assert [str(ids.decode("job", job.id)) for job in found] == older[200:220]


def _passes(job: tuple[str, ...], job_filter: JobFilter) -> bool:
    asked = (job_filter.worker_id, job_filter.status, job_filter.trigger)
    return all(want is None or want == is_ for want, is_ in zip(asked, job[1:], strict=True))


def test_the_cost_of_a_deep_page_is_independent_of_the_number_of_older_jobs(api: Api) -> None:
    read = []
    for _ in range(2):
        kinds = _kinds(random.Random(1), 8_000)
        api.execute(_ANY_KIND, *(list(values) for values in zip(*kinds, strict=True)))
        api.execute("VACUUM ANALYZE jobs")
        before = _index_rows(api)
        with api.database.connect() as connection:
            lists.page(connection, tenant_id="ten_test", job_filter=JobFilter(), limit=20, offset=980)
        read.append(_index_rows(api) - before)
    # The depth of the page in the densest range, the same in all ranges together, and the search for the densest.
    assert read[1] < 1.2 * read[0] < 6_000


def _index_rows(api: Api) -> int:
    api.execute("SELECT pg_stat_force_next_flush()")
    ((count,),) = api.execute("SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'jobs'")
    return int(count)


@pytest.mark.parametrize(
    ("timestamp", "first"),
    [
        ("2025-06-01T10:00:00.123Z", "2025-06-01T10:00:00.123Z"),
        ("2025-06-01T10:00:00.123001Z", "2025-06-01T10:00:00.124Z"),
        ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
    ],
)
def test_the_first_id_of_a_time_is_exact_to_the_millisecond(timestamp: str, first: str) -> None:
    milliseconds = ids.first_uuid(datetime.fromisoformat(timestamp)).int >> 80
    assert milliseconds == round(datetime.fromisoformat(first).timestamp() * 1000)
