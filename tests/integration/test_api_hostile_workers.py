"""A hostile key of the role worker: it claims, ends and reads no run of others, and slows no other caller."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from ava.dispatcher.duties.lost_runs import PulledRunWatch
from ava.domain import ids
from ava.domain.access import tokens
from ava.domain.access.tokens import TokenKind
from ava.domain.limits.table import RUN_LOG_BYTES, RUNS_HELD, WAITING_CLAIMS
from ava.services.claims import Claims
from ava.settings import Settings
from ava.store.jobs.feed import published
from harness.api import HEADERS, Api, error_of
from tests.pulled import (
    JOBS,
    OPERATOR,
    OTHER,
    RUNS,
    WORKERS,
    call,
    claim,
    data,
    heartbeat,
    make_key,
    make_worker,
    show,
    watch,
)


def own_job(api: Api, headers: Any = None) -> tuple[dict[str, Any], dict[str, str | None]]:
    """Returns a queued job of a tenant's own `wkr_resize`, and a key that claims it."""
    make_worker(api, headers=headers)
    key = make_key(api, headers=headers)
    assert claim(api, key) == []
    return api.trigger("wkr_resize", headers=headers), key


def test_it_claims_and_ends_no_run_of_another_tenants_worker_of_the_same_id(api: Api) -> None:
    theirs, their_key = own_job(api, OTHER)
    _, key = own_job(api)
    (own,) = claim(api, key, capacity=100)
    assert (own["job"]["tenant_id"], claim(api, key, capacity=100)) == ("ten_test", [])
    make_worker(api, "secret", headers=OTHER)
    error_of(api.post(f"{RUNS}/claim", json={"workers": ["wkr_secret"]}, headers=key), 403, "forbidden")
    body = {"name": "x", "role": "worker", "workers": ["wkr_secret"]}
    error_of(api.post("/v1/ava/keys", json=body), 422, "validation_error")
    (run,) = claim(api, their_key)
    # The lookup part alone, with any secret and with a key, is no token.
    forged = {"run": run["run"][:-43] + own["run"][-43:]}
    lines = [{"seq": 0, "msg": ""}]
    for name, body in (("end", {"output": 1}), ("progress", {"fraction": 1}), ("lines", {"lines": lines})):
        error_of(api.post(f"{RUNS}/{forged['run']}/{name}", json=body, headers=key), 404, "resource_not_found")
    assert heartbeat(api, own, forged) == {"stop": [], "lost": [forged["run"]]}
    assert data(api.get(f"{JOBS}/{theirs['id']}", headers=OTHER))["status"] == "running"


@pytest.mark.parametrize("how", ["revoked", "revoked with the key that made it", "expired"])
def test_the_token_of_a_run_ends_with_the_key_that_claimed_it(api: Api, how: str) -> None:
    job, key = own_job(api)
    api.trigger("wkr_resize")
    other = make_key(api)
    (run,), (theirs,) = claim(api, key), claim(api, other)
    for each in (run, theirs):
        assert data(call(api, each, "progress", fraction=0.1)) == {"stop": False}
    id_ = "(SELECT key_id FROM pulled_runs ORDER BY claimed_at LIMIT 1)"
    if how == "expired":
        api.execute(f"UPDATE api_keys SET expires_at = now() WHERE id = {id_}")
    elif how == "revoked":
        ((uuid,),) = api.execute(f"SELECT {id_}::text")
        assert api.request("DELETE", f"/v1/ava/keys/{ids.encode('key', uuid)}").status_code == 200
    else:
        maker = data(api.post("/v1/ava/keys", json={"name": "maker", "role": "tenant-system-admin"}), 201)["id"]
        api.execute(f"UPDATE api_keys SET made_with = '{ids.decode('key', maker)}' WHERE id = {id_}")
        assert api.request("DELETE", f"/v1/ava/keys/{maker}").status_code == 200
    # In this process, which has seen the token, and in one that has not.
    for context in range(2):
        lines = [{"seq": 0, "msg": "late"}]
        for name, body in (("lines", {"lines": lines}), ("progress", {"fraction": 1}), ("end", {"output": 1})):
            error_of(call(api, run, name, **body), 401, "unauthorized")
        assert heartbeat(api, run, theirs) == {"stop": [], "lost": [run["run"]]}, context
        api.app.extensions["ava"].runs._callers.clear()
    api.execute(
        "UPDATE pulled_runs SET heartbeat_at = now() - interval '1 minute' WHERE key_id = %s", run_key(api, run)
    )
    watched = PulledRunWatch(api.database)

    def is_rescued(now: float) -> bool:
        assert data(call(api, theirs, "progress", fraction=0.5)) == {"stop": False}
        return watch(api, now, over=watched) == 1

    assert [is_rescued(2.0 * n) for n in range(9)] == [False] * 8 + [True]
    assert (show(api, job)["status"], show(api, theirs["job"])["status"]) == ("queued", "running")


def run_key(api: Api, run: dict[str, Any]) -> Any:
    ((uuid,),) = api.execute("SELECT key_id FROM pulled_runs WHERE lookup = %s", run["run"][-59:-43])
    return uuid


def test_heartbeats_of_runs_that_do_not_exist_are_limited_by_address(database_settings: Settings) -> None:
    with Api.running(replace(database_settings, rate_limit_address="3/minute")) as api:
        _, key = own_job(api)
        (run,) = claim(api, key)
        unknown = {"run": tokens.make(TokenKind.RUN, "00").encoded}
        for _ in range(3):
            assert heartbeat(api, unknown)["lost"] == [unknown["run"]]
        refused = api.post(f"{RUNS}/heartbeat", json={"runs": [unknown["run"]]}, headers=dict.fromkeys(HEADERS))
        assert "(limit rate_limit_address)" in error_of(refused, 429, "rate_limited")["message"]
        # A process that has seen the run's token goes on.
        assert data(call(api, run, "progress", fraction=0.5)) == {"stop": False}
        for _ in range(5):
            assert heartbeat(api, unknown, run)["lost"] == [unknown["run"]]


def test_the_calls_of_all_runs_of_a_key_count_together_and_those_of_others_apart(database_settings: Settings) -> None:
    with Api.running(replace(database_settings, rate_limit_runs="6/minute")) as api:
        own_job(api)
        api.trigger("wkr_resize")
        key, other = make_key(api), make_key(api)
        one, two = claim(api, key, capacity=2)
        for run in (one, two, one, two, one):
            assert data(call(api, run, "progress", fraction=0.5)) == {"stop": False}
        refused = call(api, two, "progress", fraction=0.5)
        assert "(limit rate_limit_runs)" in error_of(refused, 429, "rate_limited")["message"]
        assert claim(api, other) == []
        for _ in range(6):
            heartbeat(api, one, two)
        refused = api.post(f"{RUNS}/heartbeat", json={"runs": [two["run"]]}, headers=dict.fromkeys(HEADERS))
        assert "(limit rate_limit_runs)" in error_of(refused, 429, "rate_limited")["message"]


def test_a_key_that_holds_as_many_runs_as_it_may_waits_in_peace(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    _, key = own_job(api)
    api.execute(
        "INSERT INTO pulled_runs (tenant_id, job_id, run_no, claim_id, lookup, hash, key_id, timeout_at, grace_seconds,"
        " end_by) SELECT 'ten_test', j.id, -n, gen_random_uuid(), 'l' || n, '', k.id, now(), 1, now()"
        f" FROM jobs AS j, api_keys AS k, generate_series(1, {RUNS_HELD.value}) AS n"
    )
    claims, made = Claims.claim, []

    def counted(*arguments: Any, **named: Any) -> Any:
        made.append(time.monotonic())
        return claims(*arguments, **named)

    monkeypatch.setattr(Claims, "claim", counted)
    assert claim(api, key, wait=2) == []
    assert len(made) < 12


def test_a_poll_for_claims_reads_no_window_of_another_queue(api: Api) -> None:
    own_job(api)
    own_job(api, OTHER)
    with api.database.connect() as connection:
        windows = {pick.queue: pick.count for pick in published.read_all_offers(connection, count_up_to=9)}
        assert windows == {"pull:ten_other:wkr_resize:ten_other": 1, "pull:ten_test:wkr_resize:ten_test": 1}
        queues = ["pull:ten_test:wkr_resize:ten_test", "pull:ten_test:wkr_none:ten_test"]
        assert [pick.queue for pick in published.read_offers(connection, queues, count_up_to=9)] == queues[:1]


def test_a_key_of_the_platform_is_made_by_the_platform_alone(api: Api) -> None:
    make_worker(api, scope="platform", headers=OPERATOR)
    body = {"name": "all", "role": "worker", "workers": ["wkr_resize"], "scope": "platform"}
    for role in ("tenant-user", "tenant-system-admin", "tenant-viewer"):
        response = api.post("/v1/ava/keys", json=body, headers={"x-platform-role": role})
        assert response.status_code in (400, 403), (role, response.text)
    assert data(api.get(f"{WORKERS}/wkr_resize"))["scope"] == "platform"
    assert data(api.get(JOBS)) == []


def test_every_limit_of_runs_refuses_by_its_name(api: Api) -> None:
    _, key = own_job(api)
    (run,) = claim(api, key)

    def refused(response: Any, status: int, limit: str) -> None:
        assert response.status_code == status, response.text
        assert f"(limit {limit})" in response.text

    line = {"seq": 0, "msg": "x"}
    refused(call(api, run, "lines", lines=[line] * 1_001), 422, "run_lines_per_call")
    refused(call(api, run, "end", output="x" * 2**20), 413, "output_bytes")
    claimed = {"workers": ["wkr_resize"], "capacity": 101}
    refused(api.post(f"{RUNS}/claim", json=claimed, headers=key), 422, "runs_per_claim")
    refused(call(api, run, "lines", lines=[line | {"seq": 1_000_000}]), 422, "run_lines")
    response = api.post(f"{RUNS}/heartbeat", json={"runs": [run["run"]] * 1_001}, headers=dict.fromkeys(HEADERS))
    refused(response, 422, "runs_per_heartbeat")
    api.execute(f"UPDATE pulled_runs SET log_bytes = {RUN_LOG_BYTES.value}")
    refused(call(api, run, "lines", lines=[line]), 413, "run_log_bytes")
    shares = api.app.extensions["ava"].shares
    with ExitStack() as held:
        for _ in range(WAITING_CLAIMS.value):
            held.enter_context(shares.claims.take("ten_test"))
        refused(
            api.post(f"{RUNS}/claim", json=claimed | {"capacity": 1, "wait": 1}, headers=key), 429, "waiting_claims"
        )
    # The run goes on all the same.
    assert data(call(api, run, "end", output=None)) == {"status": "completed", "suspended": False}
