"""Pages: each array that /openapi.json describes has `pagination`, and its pages have every row once, newest first."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest

from ava.domain import ids
from harness.api import JOBS, Api, error_of
from tests.pulled import call, claim, data, make_key, make_worker

#: Arrays without pages, each with its reason.
WITHOUT_PAGES = {"/v1/ava/schedules/{schedule_id}/next": "computed slots, at most 50"}
OPERATOR: dict[str, str | None] = {"x-platform-role": "platform-admin"}
_DAILY = {"worker_id": "wkr_open", "cron": "0 9 * * *", "timezone": "UTC"}
_OF_JOB = "SELECT tenant_id, id, n{} FROM jobs, generate_series(1, 3) AS n"


def _arrays(api: Api) -> dict[str, dict[str, Any]]:
    """Return the GET operations whose `data` is an array, by path."""
    description = json.loads(api.get("/openapi.json").data)
    found = {}
    for path, methods in description["paths"].items():
        content = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        fields = content.get("application/json", {}).get("schema", {}).get("properties", {})
        if fields.get("data", {}).get("type") == "array":
            found[path] = methods["get"] | {"fields": fields}
    return found


def _create(api: Api, path: str, body: dict[str, Any]) -> str:
    response = api.post(path, json=body)
    assert response.status_code in (201, 202), response.text
    return str(response.get_json()["data"]["id"])


def _create_many(api: Api, path: str, **body: Any) -> str:
    for number in range(3):
        _create(api, path, {**body, "name": f"n{number}"})
    return path


def _jobs(api: Api) -> str:
    for _ in range(3):
        api.trigger()
    return JOBS


def _of_job(table: str, columns: str, values: str) -> Callable[[Api], str]:
    """Return a function that gives a job three rows of a table, and returns its path."""

    def fill(api: Api) -> str:
        job_id = api.trigger()["id"]
        api.execute(f"INSERT INTO {table} (tenant_id, job_id, {columns}) {_OF_JOB.format(values)}")
        return f"{JOBS}/{job_id}"

    return fill


_RUNS = _of_job("job_runs", "run_no, attempt, started_at, outcome", ", 1, now(), 'retried'")
_ENTRIES = _of_job("job_journal", "name, kind, attempt, state", ", 'step', 1, 'done'")
_WAITS = _of_job("job_waits", "run_no, condition, waiting_for", ", 'time', '{}'")


def _waits(api: Api) -> str:
    path = _WAITS(api)
    api.execute("UPDATE jobs SET run_no = 3")
    return f"{path}/waits"


def _run_journal(api: Api) -> str:
    make_worker(api)
    key = make_key(api)
    claim(api, key)
    api.trigger("wkr_resize")
    (run,) = claim(api, key)
    for name in ("one", "two", "three"):
        data(call(api, run, "steps", name=name, state="done"))
    return f"/v1/ava/runs/{run['run']}/journal"


def _job_deliveries(api: Api) -> str:
    job_id = api.trigger()["id"]
    api.execute(
        "INSERT INTO webhook_deliveries (tenant_id, job_id, endpoint_id, event_id, event_type, n)"
        f" SELECT 'ten_test', '{ids.decode('job', job_id)}', ava_uuid7(), ava_uuid7(), 'ava.job.completed', n"
        " FROM generate_series(1, 3) AS n"
    )
    return f"{JOBS}/{job_id}/deliveries"


def _operations(api: Api) -> str:
    for worker in ("wkr_open", "wkr_paused", "wkr_none"):
        api.trigger()
        _create(api, f"{JOBS}/cancel", {"filter": {"worker_id": worker}})
    return "/v1/ava/operations"


def _containments(api: Api) -> str:
    for worker in ("wkr_open", "wkr_paused", "wkr_none"):
        scope = {"worker_id": worker, "tag": {"key": "agent", "value": "none"}}
        _create(api, "/v1/ava/containments", {"scope": scope, "reason": "a test"})
    return "/v1/ava/containments"


def _contained_jobs(api: Api) -> str:
    scope = {"tag": {"key": "agent", "value": "none"}}
    id_ = _create(api, "/v1/ava/containments", {"scope": scope, "reason": "a test"})
    uuid = ids.decode("con", id_)
    for _ in range(3):
        job_uuid = ids.decode("job", api.trigger()["id"])
        api.execute(f"INSERT INTO contained_stops VALUES ('ten_test', '{uuid}', 'ten_test', '{job_uuid}')")
    return f"/v1/ava/containments/{id_}/jobs"


def _firings(api: Api) -> str:
    id_ = _create(api, "/v1/ava/schedules", _DAILY)
    api.execute(
        "INSERT INTO schedule_firings (tenant_id, schedule_id, timezone, slot, fold, at, outcome, reason)"
        " SELECT tenant_id, id, 'UTC', now()::timestamp + n * interval '1 day', 0, now() + n * interval '1 day',"
        " 'missed', 'late' FROM schedules, generate_series(1, 3) AS n"
    )
    return f"/v1/ava/schedules/{id_}/firings"


def _webhook_deliveries(api: Api) -> str:
    id_ = _webhook(api)
    for _ in range(3):
        api.post(f"/v1/webhooks/{id_}/test")
    return f"/v1/webhooks/{id_}/deliveries"


def _webhook(api: Api) -> str:
    body = {"url": "https://example.com/x", "events": ["ava.job.completed"], "secret": "a-secret-of-16-characters"}
    return _create(api, "/v1/webhooks", body)


def _webhooks(api: Api) -> str:
    for _ in range(3):
        _webhook(api)
    return "/v1/webhooks"


def _notice(api: Api) -> str:
    rules = [{"event": "job.failed"}]
    body = {"name": "n", "channel": "slack", "target": "https://example.com/x", "on": rules}
    return _create(api, "/v1/ava/notices", body)


def _notices(api: Api) -> str:
    for _ in range(3):
        _notice(api)
    return "/v1/ava/notices"


def _notice_deliveries(api: Api) -> str:
    path = f"/v1/ava/notices/{_notice(api)}"
    for _ in range(3):
        api.post(f"{path}/test")
    return f"{path}/deliveries"


def _hook_deliveries(api: Api) -> str:
    hook = api.post("/v1/ava/hooks", json={"name": "h", "provider": "none", "event_type": "t"}).get_json()["data"]
    for number in range(3):
        assert api.post(re.sub(r"^.*/v1/hooks", "/v1/hooks", hook["url"]), json={"n": number}).status_code == 202
    return f"/v1/ava/hooks/{hook['id']}/deliveries"


def _events(api: Api) -> str:
    for number in range(3):
        _create(api, "/v1/ava/events", {"type": "t", "data": number})
    return "/v1/ava/events"


def _approvals(api: Api) -> str:
    for _ in range(4):
        api.trigger()
    api.execute(
        "INSERT INTO approvals (tenant_id, job_id, worker_id, name, title, payload, payload_hash, roles, not_by, count,"
        " on_timeout, expires_at) SELECT tenant_id, id, worker_id, 'a', 'A?', 'null', 'sha256:', '{tenant-admin}',"
        " true, 1, 'deny', now() + interval '1 hour' FROM jobs"
    )
    return "/v1/ava/approvals"


def _errors(api: Api) -> str:
    api.execute(
        "INSERT INTO error_groups (id, tenant_id, worker_id, kind, variants, first_seen_at, last_seen_at,"
        " sample_job_id) SELECT gen_random_uuid(), 'ten_test', 'wkr_open', 'E', '{x}', now(), now(), gen_random_uuid()"
        " FROM generate_series(1, 3)"
    )
    return "/v1/ava/errors"


def _worker_limits(api: Api) -> str:
    # The last two are other tenants' own, which this tenant does not see.
    api.execute(
        "INSERT INTO workers (tenant_id, id, name, runtime, timeout_seconds, max_retries, cancel_grace_seconds, queue,"
        " on_worker_lost, max_running) SELECT CASE WHEN n < 4 THEN 'ten_test' ELSE 'ten_other' END, 'wkr_l' || n, 'l',"
        " 'pull', 9, 0, 9, 'pull', 'requeue', 5 FROM generate_series(1, 5) AS n"
    )
    listed = [limit["worker_id"] for limit in api.get("/v1/ava/limits/workers").get_json()["data"]]
    assert listed == ["wkr_l1", "wkr_l2", "wkr_l3"]
    return "/v1/ava/limits/workers"


def _promotions(api: Api) -> str:
    api.execute("INSERT INTO promotions SELECT n, now(), nullif(n, 100), false FROM generate_series(100, 103) AS n")
    return "/v1/ava/promotions"


def _nodes(api: Api) -> str:
    api.execute(
        "INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes, stopped_at)"
        " SELECT gen_random_uuid(), 'n', 'h', 1, '0', '{default}', '{wkr_open}', 1, CASE WHEN n > 3 THEN now() END"
        " FROM generate_series(1, 6) AS n"
    )
    return "/v1/ava/nodes"


def _tenants(api: Api) -> str:
    for tenant in ("ten_a", "ten_b", "ten_c"):
        api.trigger(headers={"x-tenant-id": tenant})
    return "/v1/ava/tenants"


def _audit(api: Api) -> str:
    _jobs(api)
    return "/v1/ava/audit"


#: For each array a function that stores at least three rows, and returns its path.
FILLED: dict[str, Callable[[Api], str]] = {
    "/v1/ava/jobs": _jobs,
    "/v1/ava/jobs/{job_id}/runs": lambda api: f"{_RUNS(api)}/runs",
    "/v1/ava/jobs/{job_id}/journal": lambda api: f"{_ENTRIES(api)}/journal",
    "/v1/ava/jobs/{job_id}/waits": _waits,
    "/v1/ava/runs/{run}/journal": _run_journal,
    "/v1/ava/jobs/{job_id}/deliveries": _job_deliveries,
    "/v1/ava/operations": _operations,
    "/v1/ava/containments": _containments,
    "/v1/ava/containments/{containment_id}/jobs": _contained_jobs,
    "/v1/ava/schedules": lambda api: _create_many(api, "/v1/ava/schedules", **_DAILY),
    "/v1/ava/schedules/{schedule_id}/firings": _firings,
    "/v1/ava/workers": lambda _: "/v1/ava/workers",
    "/v1/webhooks": _webhooks,
    "/v1/ava/notices": _notices,
    "/v1/ava/notices/{notice_id}/deliveries": _notice_deliveries,
    "/v1/webhooks/{webhook_id}/deliveries": _webhook_deliveries,
    "/v1/ava/events": _events,
    "/v1/ava/subscriptions": lambda api: _create_many(
        api, "/v1/ava/subscriptions", event_type="t", worker_id="wkr_open"
    ),
    "/v1/ava/hooks": lambda api: _create_many(api, "/v1/ava/hooks", provider="none", worker_id="wkr_open"),
    "/v1/ava/hooks/{hook_id}/deliveries": _hook_deliveries,
    "/v1/ava/keys": lambda api: _create_many(api, "/v1/ava/keys", role="tenant-user"),
    "/v1/ava/limits": lambda _: "/v1/ava/limits",
    "/v1/ava/limits/workers": _worker_limits,
    "/v1/ava/nodes": _nodes,
    "/v1/ava/approvals": _approvals,
    "/v1/ava/errors": _errors,
    "/v1/ava/promotions": _promotions,
    "/v1/ava/tenants": _tenants,
    "/v1/ava/audit": _audit,
}


def test_each_array_is_paged_below(shared_api: Api) -> None:
    assert set(FILLED) == set(_arrays(shared_api)) - set(WITHOUT_PAGES)


@pytest.mark.parametrize("path", FILLED)
def test_pages_have_every_row_once(api: Api, path: str) -> None:
    address = FILLED[path](api)
    whole = [row for page in walk(api, address, per_page=100) for row in page["data"]]
    created = [datetime.fromisoformat(row["created_at"]) for row in whole if "created_at" in row]
    assert created == sorted(created, reverse=True) or path == "/v1/ava/workers"
    rows = [json.dumps(row) for row in whole]
    assert len(rows) >= (2 if path == "/v1/ava/workers" else 3)
    for per_page in (1, 2, len(rows)):
        paged = []
        for page in walk(api, address, per_page=per_page):
            assert len(page["data"]) <= per_page
            assert page["pagination"]["per_page"] == per_page
            assert page["pagination"]["total"] == len(rows)
            paged += [json.dumps(row) for row in page["data"]]
        assert paged == rows, per_page
    error_of(api.get(address, headers=OPERATOR, query_string={"cursor": "cur_?"}), 400, "validation_error")
    other = ids.encode("log", ids.new_uuid())
    if "{job_id}" in path:
        error_of(api.get(address, query_string={"cursor": other}), 400, "validation_error")


def walk(api: Api, path: str, headers: Mapping[str, str | None] = OPERATOR, **query: Any) -> Iterator[dict[str, Any]]:
    """Yield the pages of a list from its beginning to its end."""
    has_more = True
    while has_more:
        response = api.get(path, headers=headers, query_string=query)
        assert response.status_code == 200, response.text
        page = response.get_json()
        yield page
        has_more = page["pagination"]["has_more"]
        query["cursor"] = page["pagination"]["next_cursor"]
