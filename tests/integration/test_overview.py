"""A tenant's overview and the audit trail: correct, bounded, and without other tenants' data."""

from __future__ import annotations

from typing import Any

import pytest

from ava.dispatcher.duties import retention
from ava.dispatcher.duties.statistics import EndedJobs
from ava.domain import ids
from ava.domain.record import format_time
from ava.store.reports import ended, overview, statistics
from harness.api import NODE, Api
from harness.polling import wait_until
from harness.timestamps import LATER

OTHER = {"x-tenant-id": "ten_other"}


def _overview(api: Api, **rest: Any) -> dict[str, Any]:
    response = api.get("/v1/ava/overview", **rest)
    assert response.status_code == 200, response.text
    data: dict[str, Any] = response.get_json()["data"]
    return data


def _run(api: Api, job: dict[str, Any], status: str = "completed", *, wait_ms: int = 20, run_ms: int = 500) -> None:
    """Write a job as started and ended, three seconds ago."""
    error = "'ValueError: no'" if status == "failed" else "NULL"
    api.execute(
        f"""UPDATE jobs SET status = '{status}', error = {error}, attempt = 1, run_no = 1, node_id = '{NODE}',
            created_at = now() - interval '9 s', started_at = now() - interval '9 s' + interval '{wait_ms} ms',
            completed_at = now() - interval '9 s' + interval '{wait_ms + run_ms} ms'
            WHERE triggered_by = 'usr_test' AND tenant_id = '{job["tenant_id"]}' AND status = 'queued'
                AND priority = {job["priority"]}"""
    )


def _count(api: Api, times: int = 1) -> None:
    for _ in range(times):
        EndedJobs(api.database).run_once(0)


def _totals(api: Api, data: dict[str, Any]) -> dict[str, int]:
    return {name: sum(minute[name] for minute in data["minutes"]) for name in ("completed", "failed", "cancelled")}


def _defer(api: Api, *, priority: int) -> None:
    """As a node without the handler, or the handler, defers the jobs of a priority that have no time of their own."""
    api.execute(
        "UPDATE jobs SET waits_for = 'retry', run_at = now() + interval '1 h', run_no = 1, published_at = NULL"
        f" WHERE priority = {priority} AND waits_for IS NULL"
    )


def test_queued_jobs_are_counted_by_priority_and_scheduled_ones_separately(api: Api) -> None:
    for priority in (1, 1, 5):
        api.trigger(priority=priority)
    api.trigger(scheduled_at=LATER)
    _defer(api, priority=5)
    data = _overview(api)
    assert data["queued"] == 4
    assert data["scheduled"] == 1
    assert data["queued_is_exact"] is True
    assert [depth["queued"] for depth in data["by_priority"]] == [2, 0, 0, 0, 2, 0, 0, 0, 0, 0]
    assert data["by_priority"][4] == {"priority": 5, "queued": 2, "scheduled": 1}
    assert 0 <= data["backlog_age_seconds"] < 30


def test_a_tenant_without_jobs_has_an_overview_of_sixty_empty_minutes(api: Api) -> None:
    data = _overview(api)
    assert len(data["minutes"]) == 60
    assert data["backlog_age_seconds"] is None
    assert data["latency"] == {
        "sampled": 0,
        "start_p50_ms": None,
        "start_p95_ms": None,
        "run_p50_ms": None,
        "run_p95_ms": None,
    }


def test_an_ended_job_is_counted_once(api: Api) -> None:
    _run(api, api.trigger(priority=1))
    _run(api, api.trigger(priority=2), "failed")
    cancelled = api.trigger(priority=3)
    assert api.post(f"/v1/ava/jobs/{cancelled['id']}/cancel").status_code == 200
    api.execute("UPDATE jobs SET completed_at = now() - interval '3 s' WHERE status = 'cancelled'")
    _count(api, times=3)
    assert _totals(api, _overview(api)) == {"completed": 1, "failed": 1, "cancelled": 1}
    with api.database.connect() as connection:
        totals = statistics.totals(connection)
    assert sum(total.jobs for total in totals) == 3
    assert {total.run_bucket for total in totals if total.status == "cancelled"} == {statistics.NEVER}


def test_many_uncounted_jobs_are_counted_in_batches(api: Api) -> None:
    for _ in range(10):
        api.trigger()
    api.execute(
        f"""UPDATE jobs SET status = 'completed', attempt = 1, run_no = 1, node_id = '{NODE}', started_at = created_at,
            completed_at = now() - interval '100 s' + priority * random() * interval '10 s'"""
    )
    for counted in (0, 3, 6, 9, 10):
        with api.database.transaction() as connection:
            before, last_no, now = ended.lock(connection)
            after = before.advanced(ended.see(connection), last_no=last_no, now=now, limit=3)
            ended.count(connection, before, after)
            assert sum(total.jobs for total in statistics.totals(connection)) == counted
    assert _totals(api, _overview(api))["completed"] == 10


def test_percentiles_are_those_of_the_newest_jobs(api: Api) -> None:
    for priority, milliseconds in enumerate((100, 200, 300), start=1):
        _run(api, api.trigger(priority=priority), wait_ms=milliseconds, run_ms=10 * milliseconds)
    latency = _overview(api)["latency"]
    assert latency["sampled"] == 3
    assert latency["start_p50_ms"] == pytest.approx(200, abs=1)
    assert latency["run_p50_ms"] == pytest.approx(2000, abs=1)
    assert latency["run_p95_ms"] == pytest.approx(2900, abs=1)


def test_queued_jobs_are_counted_up_to_a_limit_that_is_reported(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "MAX_COUNTED_OF_TRIGGER", 2)
    for _ in range(4):
        api.trigger()
    data = _overview(api)
    assert data["queued"] == 3
    assert data["queued_is_exact"] is False


def test_nodes_show_only_the_callers_jobs_and_how_busy_they_are(api: Api) -> None:
    for tenant in ("ten_test", "ten_other"):
        api.trigger(headers={"x-tenant-id": tenant})
    api.execute(
        f"""INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes, busy)
            VALUES ('{NODE}', 'ava-1@here', 'here', 1, '1.0', '{{default}}', '{{wkr_open}}', 4, 2)"""
    )
    api.execute(f"UPDATE jobs SET status = 'running', attempt = 1, run_no = 1, node_id = '{NODE}', started_at = now()")
    (node,) = api.get("/v1/ava/nodes", headers={"x-platform-role": "platform-admin"}).get_json()["data"]
    assert (node["state"], node["processes"], node["busy"]) == ("live", 4, 2)
    # A tenant's roles see how busy its own jobs keep the node.
    (node,) = api.get("/v1/ava/nodes").get_json()["data"]
    assert (node["state"], node["processes"], node["busy"]) == ("live", 4, 1)
    assert [job["worker_id"] for job in node["jobs"]] == ["wkr_open"]
    api.execute("UPDATE nodes SET seen_at = now() - interval '1 minute'")
    assert api.get("/v1/ava/nodes").get_json()["data"][0]["state"] == "silent"


def test_the_roles_of_a_tenant_see_no_machines_and_no_workers_of_others(api: Api) -> None:
    api.execute(
        f"""INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes,
                memory_bytes)
            VALUES ('{NODE}', 'ava-1@here', 'here', 17, '1.0', '{{default,private}}', '{{wkr_open,wkr_theirs}}', 4,
                99)"""
    )
    api.execute("UPDATE workers SET queue = 'private' WHERE id = 'wkr_theirs'")
    for role in ("tenant-user", "tenant-system-admin"):
        response = api.get("/v1/ava/nodes", headers={"x-platform-role": role})
        (node,) = response.get_json()["data"]
        assert (node["workers"], node["queues"]) == (["wkr_open"], ["default"])
        assert (node["name"], node["host"], node["pid"], node["memory_bytes"]) == (node["id"], None, None, None)
        assert "here" not in response.text
    (node,) = api.get("/v1/ava/nodes", headers=OTHER).get_json()["data"]
    assert node["workers"] == ["wkr_open", "wkr_theirs"]
    (node,) = api.get("/v1/ava/nodes", headers={"x-platform-role": "platform-admin"}).get_json()["data"]
    assert (node["name"], node["host"], node["pid"], node["memory_bytes"]) == ("ava-1@here", "here", 17, 99)
    assert node["workers"] == ["wkr_open", "wkr_theirs"]


def test_a_tenant_sees_no_node_that_runs_nothing_for_it(api: Api) -> None:
    api.execute(
        f"""INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes)
            VALUES ('{NODE}', 'ava-1@here', 'here', 17, '1.0', '{{default}}', '{{wkr_theirs}}', 4)"""
    )
    assert api.get("/v1/ava/nodes").get_json()["data"] == []
    for headers in (OTHER, {"x-platform-role": "platform-admin"}):
        assert len(api.get("/v1/ava/nodes", headers=headers).get_json()["data"]) == 1
    # A job may still run there although its worker is another tenant's by now.
    job_id = api.trigger()["id"]
    api.execute(f"UPDATE jobs SET status = 'running', attempt = 1, run_no = 1, node_id = '{NODE}', started_at = now()")
    (node,) = api.get("/v1/ava/nodes").get_json()["data"]
    assert ([job["id"] for job in node["jobs"]], node["workers"], node["busy"]) == ([job_id], [], 1)


def test_every_change_and_every_refusal_is_in_the_audit_trail(api: Api) -> None:
    job = api.trigger()
    api.post(f"/v1/ava/jobs/{job['id']}/cancel", headers={"x-user-id": "usr_other", "x-forwarded-for": "203.0.113.7"})
    api.post("/v1/ava/jobs", json={"worker_id": "wkr_open"}, headers={"x-platform-role": "tenant-user"})
    api.get(f"/v1/ava/jobs/{job['id']}")
    response = api.get("/v1/ava/audit")
    entries = response.get_json()["data"]
    assert [(e["action"], e["status"], e["actor"]["id"], e["role"]) for e in entries] == [
        ("jobs.trigger", 403, "usr_test", "tenant-user"),
        ("jobs.cancel", 200, "usr_other", "tenant-system-admin"),
        ("jobs.trigger", 201, "usr_test", "tenant-system-admin"),
    ]
    assert [e["target"] for e in entries] == [None, job["id"], job["id"]]
    assert entries[1]["address"] == "127.0.0.1 for 203.0.113.7"
    assert response.get_json()["pagination"]["total"] == 3
    assert api.get("/v1/ava/audit", headers=OTHER).get_json()["data"] == []


def test_a_time_range_of_the_audit_trail_has_the_entries_from_its_start_to_before_its_end(api: Api) -> None:
    for _ in range(20):
        api.trigger()
    entries = api.get("/v1/ava/audit").get_json()["data"]
    # The ids have the times of the requests, although all were written together.
    for since, until in ((5, 0), (19, 12), (10, 9)):
        times = {"since": entries[since]["at"], "until": entries[until]["at"]}
        found = api.get("/v1/ava/audit", query_string=times).get_json()
        inside = [each["id"] for each in entries if times["since"] <= each["at"] < times["until"]]
        assert [each["id"] for each in found["data"]] == inside
        assert found["pagination"]["total"] == len(inside)
    page = api.get("/v1/ava/audit", query_string={"since": entries[9]["at"], "per_page": 4}).get_json()
    rest = {"since": entries[9]["at"], "cursor": page["pagination"]["next_cursor"]}
    found = api.get("/v1/ava/audit", query_string=rest).get_json()["data"]
    assert len(page["data"] + found) == sum(each["at"] >= entries[9]["at"] for each in entries)


def test_refusals_by_role_are_counted_and_sampled(api: Api) -> None:
    user = {"x-platform-role": "tenant-user", "x-user-id": "usr_flood"}
    for number in range(200):
        address = {"x-forwarded-for": f"203.0.113.{number}"}
        assert api.post("/v1/ava/jobs", json={"worker_id": "wkr_open"}, headers=user | address).status_code == 403
    api.post("/v1/ava/jobs/cancel", json={}, headers=user)
    api.post("/v1/ava/jobs", json={"worker_id": "wkr_open"}, headers=user | OTHER)
    entries = api.get("/v1/ava/audit").get_json()["data"]
    assert [(e["action"], e["occurrences"]) for e in entries] == [("operations.cancel", None), ("jobs.trigger", None)]
    # When the minute is over, or the process ends, one entry stands for the others.
    api.app.extensions["ava"].admin.audit.close()
    (last, *_) = found = api.get("/v1/ava/audit?filter[action]=jobs.trigger").get_json()["data"]
    assert [e["occurrences"] for e in found] == [199, None]
    assert (last["address"], last["status"], last["role"]) == ("127.0.0.1 for 203.0.113.199", 403, "tenant-user")
    assert len(api.get("/v1/ava/audit", headers=OTHER).get_json()["data"]) == 1


def test_a_flood_of_refused_writes_has_few_entries_and_their_number(api: Api) -> None:
    for number in range(1_000):
        address = {"x-forwarded-for": f"203.0.113.{number}"}
        assert api.post("/v1/ava/jobs", json={"worker_id": number}, headers=address).status_code == 422
    refused = [
        (api.post("/v1/ava/jobs/job_00000000000070008000000000000009/cancel"), 404),
        (api.post("/v1/ava/jobs", data=b"x", content_type="text/plain"), 415),
        (api.post(f"/v1/ava/jobs/{api.trigger()['id']}/retry"), 409),
    ]
    assert [response.status_code for response, _ in refused] == [status for _, status in refused]
    api.app.extensions["ava"].admin.audit.close()
    entries = api.get("/v1/ava/audit").get_json()["data"]
    # Each status of each action has its own first entry.
    assert sorted((e["action"], e["status"], e["occurrences"] or 1) for e in entries) == [
        *(("jobs.cancel", 404, 1), ("jobs.retry", 409, 1), ("jobs.trigger", 201, 1), ("jobs.trigger", 415, 1)),
        *(("jobs.trigger", 422, 1), ("jobs.trigger", 422, 999)),
    ]
    addresses = {e["occurrences"]: e["address"] for e in entries if e["status"] == 422}
    assert addresses == {None: "127.0.0.1 for 203.0.113.0", 999: "127.0.0.1 for 203.0.113.999"}


def test_a_change_keeps_old_and_new_values_and_no_secret(api: Api) -> None:
    made = {"url": "https://example.com/old-secret-path", "events": ["ava.job.completed"], "secret": "s" * 20}
    hook = api.post("/v1/webhooks", json=made).get_json()["data"]
    changes = {"url": "https://example.org/new-secret-path", "events": ["ava.job.failed"], "secret": "t" * 20}
    assert api.request("PATCH", f"/v1/webhooks/{hook['id']}", json=changes).status_code == 200
    response = api.get("/v1/ava/audit")
    entry = response.get_json()["data"][0]
    assert entry["changes"] == {
        "events": [["ava.job.completed"], ["ava.job.failed"]],
        "secret": ["••••••", "••••••"],
        "url": ["https://example.com", "https://example.org"],
    }
    assert "secret-path" not in response.text


@pytest.mark.needs_session(
    because="each session of PostgreSQL reports what it has read by itself, and the test asks one"
)
def test_every_filter_of_the_audit_trail_reads_an_index(api: Api) -> None:
    # What is looked for is older than everything else of its tenant, and other tenants have as much.
    api.execute(
        "INSERT INTO audit (tenant_id, actor_id, label, role, action, target, status, address, request_id, at)"
        " SELECT CASE WHEN n %% 2 = 0 THEN 'ten_test' ELSE 'ten_other' END, CASE WHEN n <= 20 THEN 'usr_a' ELSE 'usr_b'"
        " END, CASE WHEN n <= 20 THEN 'usr_l' ELSE 'usr_m' END, 'r',"
        " CASE WHEN n <= 20 THEN 'jobs.cancel' ELSE 'jobs.trigger' END, CASE WHEN n <= 20 THEN 'job_a' ELSE"
        " 'job_' || n END, 200, 'a', 'r', now() FROM generate_series(1, 40000) AS n"
    )
    api.execute("VACUUM ANALYZE audit")
    ((middle,),) = api.execute("SELECT id::text FROM audit ORDER BY id OFFSET 20000 LIMIT 1")
    until = format_time(ids.timestamp_of("aud", ids.encode("aud", middle)))
    filters = ("filter[action]=jobs.cancel", "filter[actor_id]=usr_a", "filter[label]=usr_l")
    filters += ("filter[target]=job_a", f"until={until}")
    for query in ("", *filters):
        before = api.rows_read("audit")
        found = api.get(f"/v1/ava/audit?per_page=10&{query}").get_json()
        assert len(found["data"]) == 10
        assert found["pagination"]["total"] == (1_000 if query in ("", filters[-1]) else 10)
        assert api.rows_read("audit") - before < 1_100, query
    combined = api.get("/v1/ava/audit?filter[action]=jobs.cancel&filter[actor_id]=usr_a").get_json()
    assert combined["pagination"]["total"] == 10


def test_entries_are_written_soon_even_if_none_is_read(api: Api) -> None:
    api.trigger()
    wait_until(lambda: api.execute("SELECT count(*) FROM audit")[0][0] == 1, what="the entry is written")


def test_old_entries_and_minutes_are_deleted(api: Api) -> None:
    api.trigger()
    assert len(api.get("/v1/ava/audit").get_json()["data"]) == 1
    api.execute("INSERT INTO job_minutes VALUES ('ten_test', now() - interval '2 days', 'w', 's', 0, 0, 1, 0, 0, 0, 0)")
    for audit_days in (90, -1):
        duty = retention.of_jobs(api.database, retention_days=30, audit_days=audit_days, silent_nodes=list)
        assert duty.run_once(0.0) == 1
    assert api.get("/v1/ava/audit").get_json()["data"] == []


def test_the_newest_failures_are_those_that_failed_last(api: Api) -> None:
    for number, minutes in ((1, 1), (2, 30), (3, 5)):
        job = api.trigger(priority=number)
        _run(api, job, "failed")
        api.execute(f"UPDATE jobs SET completed_at = now() - interval '{minutes} min' WHERE priority = {number}")
    failures = _overview(api)["failures"]
    records = [api.get(f"/v1/ava/jobs/{failure['id']}").get_json()["data"] for failure in failures]
    assert [record["priority"] for record in records] == [1, 3, 2]
    assert failures[0]["error"] == "ValueError: no"


def test_the_time_to_start_forgets_an_old_backlog(api: Api) -> None:
    old, new = api.trigger(priority=1), api.trigger(priority=2)
    _run(api, old, wait_ms=5)
    api.execute(
        "UPDATE jobs SET created_at = now() - interval '50 min', started_at = now() - interval '6 min'"
        " WHERE priority = 1"
    )
    assert _overview(api)["latency"]["start_p50_ms"] is None
    _run(api, new, wait_ms=20)
    assert _overview(api)["latency"]["start_p50_ms"] == pytest.approx(20, abs=1)
