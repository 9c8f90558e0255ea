"""What every response carries: ETags, compression, rate limits and CORS; and the explanation of a state."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace

import pytest

from ava.settings import Settings
from harness.api import JOBS, NODE, Api, error_of
from harness.timestamps import LATER

ORIGIN = "https://console.example.com"


def test_only_a_final_record_has_an_etag(api: Api) -> None:
    job = api.trigger()
    path = f"{JOBS}/{job['id']}"
    assert "ETag" not in api.get(path).headers
    api.post(f"{path}/cancel")
    final = api.get(path)
    again = api.get(path, headers={"If-None-Match": final.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] == final.headers["ETag"]
    assert api.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    assert api.request("HEAD", path).headers["ETag"] == final.headers["ETag"]


def test_large_responses_are_compressed_for_clients_that_accept_it(api: Api) -> None:
    job = api.trigger(input={"x": "y" * 50_000})
    path = f"{JOBS}/{job['id']}"
    plain, packed = api.get(path), api.get(path, headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.data) < 1000
    assert int(packed.headers["Content-Length"]) == len(packed.data)
    assert gzip.decompress(packed.data) == plain.data
    assert "Content-Encoding" not in plain.headers
    assert "Accept-Encoding" in plain.headers["Vary"]
    assert "Content-Encoding" not in api.get(path, headers={"Accept-Encoding": "gzip;q=0"}).headers
    assert "Content-Encoding" not in api.get("/livez", headers={"Accept-Encoding": "gzip"}).headers


def test_static_files_are_cached_for_good_by_the_digest_of_all(shared_api: Api) -> None:
    page = shared_api.get("/")
    assert page.headers["Cache-Control"] == "private, no-cache"
    assert shared_api.get("/", headers={"If-None-Match": page.headers["ETag"]}).status_code == 304
    main = re.search(r'src="(/static/[0-9a-f]{16}/dashboard/main.js)"', page.text)
    assert main
    current = shared_api.get(main[1], buffered=True)
    assert current.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    # During a rolling deploy, a page of the other version.
    other = shared_api.get("/static/0123456789abcdef/dashboard/main.js", buffered=True)
    assert (other.data, other.headers["Cache-Control"]) == (current.data, "no-store")
    error_of(shared_api.get(main[1].replace("main", "nope")), 404, "resource_not_found")


def test_other_origins_are_not_allowed_by_default(api: Api) -> None:
    for method in ("GET", "OPTIONS"):
        assert "Access-Control-Allow-Origin" not in api.request(method, JOBS, headers={"Origin": ORIGIN}).headers


def test_only_configured_origins_are_allowed(api_settings: Settings) -> None:
    with Api.running(replace(api_settings, cors_origins=(ORIGIN,))) as api:
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "x-internal-secret": None}
        preflight = api.request("OPTIONS", JOBS, headers=asked)
        assert preflight.status_code == 204
        assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        assert "x-internal-secret" in preflight.headers["Access-Control-Allow-Headers"]
        assert api.get(JOBS, headers={"Origin": ORIGIN}).headers["Access-Control-Allow-Origin"] == ORIGIN
        # Failures too, because a browser could not read them otherwise.
        assert api.get("/nope", headers={"Origin": ORIGIN}).headers["Access-Control-Allow-Origin"] == ORIGIN
        for origin in ("https://evil.example.com", "null", f"{ORIGIN}.evil.com"):
            response = api.get(JOBS, headers={"Origin": origin})
            assert "Access-Control-Allow-Origin" not in response.headers
            assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize("storage", ["redis", "memory"])
def test_each_tenant_has_its_own_rate_limits_and_sees_them_in_headers(api_settings: Settings, storage: str) -> None:
    settings = replace(api_settings, rate_limit_read="3/minute", rate_limit_write="1/hour")
    if storage == "memory":
        settings = replace(settings, broker_url="amqp://guest@127.0.0.1:1//")
    with Api.running(settings) as api:
        left = [api.get(JOBS).headers["X-RateLimit-Remaining"] for _ in range(3)]
        assert left == ["2", "1", "0"]
        refused = api.get(JOBS)
        error_of(refused, 429, "rate_limited")
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert (refused.headers["X-RateLimit-Limit"], refused.headers["X-RateLimit-Remaining"]) == ("3", "0")
        assert int(refused.headers["X-RateLimit-Reset"]) > 0
        assert api.get(JOBS, headers={"x-tenant-id": "ten_other"}).status_code == 200
        assert api.trigger()["status"] == "queued"
        error_of(api.post(JOBS, json={"worker_id": "wkr_open"}), 429, "rate_limited")
        assert [api.get("/livez").status_code for _ in range(5)] == [200] * 5
        error_of(api.get(JOBS, headers={"x-internal-secret": "x"}), 401, "unauthorized")


def test_without_rate_limits_responses_have_no_such_headers(api: Api) -> None:
    assert not [name for name, _ in api.get(JOBS).headers if name.lower().startswith("x-ratelimit")]


def test_rate_limits_hold_while_their_redis_is_down(api_settings: Settings) -> None:
    settings = replace(api_settings, rate_limit_read="2/minute", broker_url="redis://127.0.0.1:1/0")
    with Api.running(settings) as api:
        assert [api.get(JOBS).status_code for _ in range(3)] == [200, 200, 429]


# Why ----------------------------------------------------------------------------------------------------------------


def _why(api: Api, job_id: str, **headers: str) -> dict[str, object]:
    response = api.get(f"{JOBS}/{job_id}/why", headers=headers)
    assert response.status_code == 200, response.text
    data: dict[str, object] = json.loads(response.data)["data"]
    return data


def test_a_jobs_state_is_explained(api: Api) -> None:
    first, second = api.trigger(priority=1), api.trigger()
    api.trigger(headers={"x-tenant-id": "ten_other"}, priority=1)
    assert _why(api, second["id"])["sentence"] == "queued: no live worker serves wkr_open on queue default"
    api.execute(
        "INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes)"
        " VALUES (%s, 'ava@host', 'h', 1, '0', '{default}', '{wkr_open}', 2)",
        NODE,
    )
    why = _why(api, second["id"])
    # Only the tenant's own jobs are counted.
    said = "queued: 1 ahead of it in queue default, 2 processes"
    assert why["sentence"] == f"{said}, no estimate because this tenant has no completed job of wkr_open"
    assert list(why) == ["job_id", "status", "sentence", "facts"]
    api.execute(
        f"UPDATE jobs SET status = 'running', started_at = now(), run_no = 1, attempt = 1, node_id = '{NODE}'"
        " WHERE priority = 1"
    )
    # The name of a node holds the host's, which only the platform's roles see.
    assert str(_why(api, first["id"])["sentence"]).startswith("running on node node_0")
    shown = _why(api, first["id"], **{"x-platform-role": "platform-admin"})
    assert str(shown["sentence"]).startswith("running on node ava@host since 2")
    scheduled = api.trigger(scheduled_at=LATER)
    assert _why(api, scheduled["id"])["sentence"] == f"scheduled for {LATER}"


def test_an_estimate_is_made_of_the_tenants_own_jobs(api: Api) -> None:
    job = api.trigger()
    api.execute(
        "INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes)"
        " VALUES (%s, 'ava@host', 'h', 1, '0', '{default}', '{wkr_open}', 1)",
        NODE,
    )

    def ended(tenant_id: str, seconds: int) -> None:
        api.execute(
            "INSERT INTO jobs (tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by,"
            " max_attempts, started_at, completed_at) SELECT %s, 'wkr_open', 'completed', 'manual', 1, 'default', '{}',"
            " 'usr_x', 1, now() - %s * interval '1 s', now() FROM generate_series(1, 5)",
            tenant_id,
            seconds,
        )

    ended("ten_other", 1_000)
    assert _facts(api, job["id"])["estimate_seconds"] is None
    # The jobs of others that are ahead do not show how long those of others took.
    api.trigger(priority=2, headers={"x-tenant-id": "ten_other"})
    assert _facts(api, job["id"])["estimate_seconds"] is None
    ahead = api.trigger(priority=1)
    ended("ten_test", 20)
    assert (_facts(api, ahead["id"])["estimate_seconds"], _facts(api, job["id"])["estimate_seconds"]) == (0, 40)


def _facts(api: Api, job_id: str) -> dict[str, object]:
    facts: dict[str, object] = _why(api, job_id)["facts"]  # type: ignore[assignment]
    return facts
