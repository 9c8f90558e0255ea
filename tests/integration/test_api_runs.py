"""Pulled runs: workers of a tenant, keys of the role worker, claims, lines, heartbeats and ends over HTTP."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from ava.dispatcher.duties.lost_runs import PulledRunWatch
from ava.domain.access import tokens
from ava.domain.access.tokens import TokenKind
from ava.domain.limits.table import RUNS_HELD
from ava.store.jobs.transitions import pull
from harness.api import HEADERS, Api, error_of
from harness.polling import wait_until
from tests.integration.pulled_order import orders
from tests.pulled import JOBS, OPERATOR, OTHER, RUNS, call, claim, data, heartbeat, make_key, make_worker, show, watch


def test_a_run_is_claimed_reports_and_ends(api: Api, key: dict[str, str | None]) -> None:
    job = api.trigger("wkr_resize", input={"width": 3})
    (run,) = claim(api, key, capacity=5, name="box 1")
    assert (run["job"]["id"], run["job"]["status"], run["job"]["attempt"]) == (job["id"], "running", 1)
    assert (run["input"], run["config"]) == ({"width": 3}, {})
    assert claim(api, key) == []
    lines = [{"seq": 0, "level": "info", "msg": "reads"}, {"seq": 1, "level": "warn", "msg": "a\0b"}]
    assert data(call(api, run, "lines", lines=lines)) == {"stop": False}
    assert data(call(api, run, "lines", lines=lines)) == {"stop": False}
    assert data(call(api, run, "progress", fraction=0.5, message="half")) == {"stop": False}
    assert show(api, job)["progress"] == {"fraction": 0.5, "message": "half"}
    assert heartbeat(api, run) == {"stop": [], "lost": []}
    assert data(call(api, run, "end", output={"bytes": 7})) == {"status": "completed", "suspended": False}
    # The same end again is no other one.
    assert data(call(api, run, "end", output={"bytes": 7})) == {"status": "completed", "suspended": False}
    error_of(call(api, run, "end", output={"bytes": 8}), 409, "resource_conflict")
    error_of(call(api, run, "lines", lines=lines), 409, "resource_conflict")
    assert heartbeat(api, run) == {"stop": [], "lost": [run["run"]]}
    ended = show(api, job)
    assert (ended["status"], ended["output"]) == ("completed", {"bytes": 7})
    log = [line["msg"] for line in data(api.get(f"{JOBS}/{job['id']}/logs"))["logs"]]
    assert log[:3] == ["Worker handler started", "reads", "a\\x00b"]
    assert log[3].startswith("Handler completed in ")


def test_of_two_lines_with_one_number_in_a_call_the_first_is_stored(api: Api, key: dict[str, str | None]) -> None:
    job = api.trigger("wkr_resize")
    (run,) = claim(api, key)
    lines = [{"seq": 1, "msg": "one"}, {"seq": 0, "msg": "zero"}, {"seq": 1, "msg": "another"}]
    assert data(call(api, run, "lines", lines=lines)) == {"stop": False}
    log = [line["msg"] for line in data(api.get(f"{JOBS}/{job['id']}/logs"))["logs"]]
    assert log == ["Worker handler started", "zero", "one"]
    assert api.execute("SELECT log_bytes FROM pulled_runs") == [(len("zeroone"),)]


def test_a_claim_waits_for_a_job_and_is_woken_by_it(api: Api, key: dict[str, str | None]) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(claim, api, key, wait=20)
        wait_until(lambda: api.app.extensions["ava"].claims._waiting)
        began = time.monotonic()
        job = api.trigger("wkr_resize")
        assert [run["job"]["id"] for run in waiting.result(20)] == [job["id"]]
        assert time.monotonic() - began < 10


def test_a_claim_whose_key_is_revoked_while_it_waits_is_refused(api: Api, key: dict[str, str | None]) -> None:
    with ThreadPoolExecutor(1) as threads:
        body = {"workers": ["wkr_resize"], "wait": 3}
        waiting = threads.submit(api.post, f"{RUNS}/claim", json=body, headers=key)
        wait_until(lambda: api.app.extensions["ava"].claims._waiting)
        (made,) = data(api.get("/v1/ava/keys"))
        data(api.request("DELETE", f"/v1/ava/keys/{made['id']}"))
        error_of(waiting.result(20), 401, "unauthorized")


def test_runs_are_claimed_by_priority_then_age(api: Api, key: dict[str, str | None]) -> None:
    jobs = [api.trigger("wkr_resize", priority=priority)["id"] for priority in (5, 9, 1, 5, 1)]
    runs = claim(api, key, capacity=4) + claim(api, key, capacity=4)
    assert [run["job"]["id"] for run in runs] == [jobs[2], jobs[4], jobs[0], jobs[3], jobs[1]]


def test_a_failed_run_is_repeated_unless_it_gives_up(api: Api) -> None:
    make_worker(api, retry={"max": 3})
    key = make_key(api)
    claim(api, key)
    job = api.trigger("wkr_resize")
    (run,) = claim(api, key)
    assert data(call(api, run, "end", error="TypeError: x is undefined")) == {"status": "queued", "suspended": False}
    api.execute("UPDATE jobs SET waits_for = NULL, run_at = NULL, published_at = now()")
    (run,) = claim(api, key)
    assert run["job"]["attempt"] == 2
    assert data(call(api, run, "end", retry_later_seconds=0, reason="busy")) == {"status": "queued", "suspended": False}
    api.execute("UPDATE jobs SET waits_for = NULL, run_at = NULL, published_at = now()")
    (run,) = claim(api, key)
    # The attempt was given back.
    assert run["job"]["attempt"] == 2
    assert data(call(api, run, "end", error="TypeError: x", give_up=True)) == {"status": "failed", "suspended": False}
    assert show(api, job)["error"] == "TypeError: x"


@pytest.mark.parametrize(
    ("declared", "tenants", "seconds"),
    [
        ({"max": 3, "delays_seconds": [60, 900], "jitter": 0}, None, (60, 900)),
        ({"max": 3, "first_seconds": 50, "factor": 3, "jitter": 0}, None, (50, 150)),
        ({"max": 3}, {"max": 2, "delays_seconds": [70], "jitter": 0}, (70, 70)),
    ],
)
def test_a_failed_run_is_repeated_after_the_delays_of_its_worker(
    api: Api, declared: dict[str, Any], tenants: dict[str, Any] | None, seconds: tuple[int, int]
) -> None:
    made = make_worker(api, retry=declared, scope="platform", headers=OPERATOR)
    assert declared.items() <= made["retry"].items()
    if tenants is not None:
        data(api.request("PATCH", "/v1/ava/workers/wkr_resize", json={"retry": tenants}))
    key = make_key(api)
    claim(api, key)
    api.trigger("wkr_resize")
    for expected in seconds:
        (run,) = claim(api, key)
        assert data(call(api, run, "end", error="OSError: no")) == {"status": "queued", "suspended": False}
        ((waits,),) = api.execute("SELECT extract(epoch FROM run_at - now())::float8 FROM jobs")
        assert waits == pytest.approx(expected, abs=20)
        api.execute("UPDATE jobs SET waits_for = NULL, run_at = NULL, published_at = now()")


def test_a_run_that_is_overdue_is_repeated_after_the_delays_of_its_worker(api: Api) -> None:
    make_worker(api, retry={"max": 3, "delays_seconds": [600]})
    key = make_key(api)
    claim(api, key)
    api.trigger("wkr_resize")
    claim(api, key)
    api.execute("UPDATE pulled_runs SET end_by = now() - interval '1 second'")
    PulledRunWatch(api.database).run_once(0)
    ((waits,),) = api.execute("SELECT extract(epoch FROM run_at - now())::float8 FROM jobs")
    assert waits == pytest.approx(600, abs=20)


def test_a_cancelled_run_learns_of_the_stop_and_ends_cancelled(api: Api, key: dict[str, str | None]) -> None:
    job = api.trigger("wkr_resize")
    (run,) = claim(api, key)
    assert heartbeat(api, run) == {"stop": [], "lost": []}
    assert data(api.post(f"{JOBS}/{job['id']}/cancel"))["status"] == "running"
    assert heartbeat(api, run) == {"stop": [run["run"]], "lost": []}
    assert data(call(api, run, "progress", fraction=1)) == {"stop": True}
    assert data(call(api, run, "end", output=None)) == {"status": "cancelled", "suspended": False}


@pytest.mark.parametrize("word", ["heartbeat", "lines", "progress"])
def test_a_cancelled_run_is_ended_after_its_grace(api: Api, key: dict[str, str | None], word: str) -> None:
    job = api.trigger("wkr_resize")
    (run,) = claim(api, key)
    api.post(f"{JOBS}/{job['id']}/cancel")
    if word == "heartbeat":
        assert heartbeat(api, run)["stop"] == [run["run"]]
    else:
        body: Any = {"lines": [{"seq": 0, "msg": "goes on"}]} if word == "lines" else {"fraction": 0.5}
        assert data(call(api, run, word, **body)) == {"stop": True}
    assert watch(api, 0.0) == 0
    api.execute("UPDATE pulled_runs SET end_by = now() WHERE end_by < now() + interval '11 s'")
    assert watch(api, 0.0) == 1
    assert show(api, job)["status"] == "cancelled"
    error_of(call(api, run, "end", output=None), 409, "resource_conflict")


def test_a_run_whose_timeout_has_passed_learns_of_the_stop_and_is_then_ended(
    api: Api, key: dict[str, str | None]
) -> None:
    job = api.trigger("wkr_resize")
    (run,) = claim(api, key)
    api.execute("UPDATE pulled_runs SET timeout_at = claimed_at, end_by = now() + interval '1 hour'")
    assert heartbeat(api, run) == {"stop": [run["run"]], "lost": []}
    api.execute("UPDATE pulled_runs SET timeout_at = claimed_at + interval '300 s', end_by = now()")
    assert PulledRunWatch(api.database).run_once(0) == 1
    ended = show(api, job)
    assert (ended["status"], ended["error"]) == ("failed", "Timeout: exceeded 300 s")


def test_a_platforms_worker_is_claimed_by_each_tenants_key_for_itself(api: Api) -> None:
    make_worker(api, scope="platform", headers=OPERATOR)
    mine, theirs = make_key(api), make_key(api, headers=OTHER)
    for each in (mine, theirs):
        assert claim(api, each) == []
    api.trigger("wkr_resize", headers=OTHER)
    assert claim(api, mine) == []
    (run,) = claim(api, theirs)
    assert run["job"]["tenant_id"] == "ten_other"
    error_of(
        api.post("/v1/ava/keys", json={"name": "b", "role": "worker", "workers": ["wkr_resize"], "scope": "platform"}),
        403,
        "forbidden",
    )


def test_a_key_of_the_platform_claims_the_runs_of_all_tenants_in_their_turns(api: Api) -> None:
    make_worker(api, scope="platform", headers=OPERATOR)
    key = make_key(api, headers=OPERATOR, scope="platform")
    assert claim(api, key) == []
    tenants = [{"x-tenant-id": f"ten_{name}"} for name in "aab"]
    for headers in tenants:
        for priority in (5, 1):
            api.trigger("wkr_resize", headers=headers, priority=priority)
    runs = [run for _ in range(3) for run in claim(api, key, capacity=2)]
    order = [(run["job"]["priority"], run["job"]["tenant_id"]) for run in runs]
    assert order == [(1, "ten_a"), (1, "ten_b"), (1, "ten_a"), (5, "ten_a"), (5, "ten_b"), (5, "ten_a")]


def test_claims_of_one_key_at_once_hold_no_more_runs_than_its_limit(api: Api, key: dict[str, str | None]) -> None:
    jobs = [api.trigger("wkr_resize") for _ in range(3)]
    (held,) = claim(api, key)
    # Other runs of the key, so that it may claim one more.
    api.execute(
        "INSERT INTO pulled_runs (tenant_id, job_id, run_no, claim_id, lookup, hash, key_id, timeout_at, grace_seconds,"
        " end_by) SELECT tenant_id, gen_random_uuid(), run_no, claim_id, lookup || n, hash, key_id, timeout_at,"
        " grace_seconds, end_by FROM pulled_runs, generate_series(1, %s) AS n",
        RUNS_HELD.value - 2,
    )
    ((key_uuid, queue),) = api.execute(
        "SELECT DISTINCT r.key_id::text, j.queue FROM pulled_runs AS r JOIN jobs AS j ON j.id = r.job_id"
    )
    second: list[list[dict[str, Any]]] = []
    thread = threading.Thread(target=lambda: second.append(claim(Api(api.app, api.database), key, capacity=5)))
    picks = [pull.Pick(queue=queue, priority=held["job"]["priority"], count=1)]
    with api.database.transaction() as connection:
        made = [tokens.make(TokenKind.RUN, "00")]
        first = pull.claim(connection, picks, made, claim_id=str(uuid4()), key_id=key_uuid, name=None)
        thread.start()
        api.wait_for_blocked()
    thread.join(10)
    assert (len(first), second) == (1, [[]])
    statuses = sorted(show(api, job)["status"] for job in jobs)
    assert statuses == ["queued", "running", "running"]


def test_tokens_of_other_runs_are_worth_nothing(api: Api, key: dict[str, str | None]) -> None:
    api.trigger("wkr_resize")
    (run,) = claim(api, key)
    lookup, forged = run["run"][:26], run["run"][:26] + "A" * 43
    assert lookup.startswith("avarun_00.")
    for token in (forged, "avarun_00.x", "x" * 500, "%00"):
        error_of(call(api, {"run": token}, "end", output=1), 404, "resource_not_found")
    assert heartbeat(api, {"run": forged}, {"run": "nothing"}) == {"stop": [], "lost": [forged, "nothing"]}
    assert data(call(api, run, "end", output=1)) == {"status": "completed", "suspended": False}


_WRONG_CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("lines", {"lines": []}, "lines"),
    ("lines", {"lines": None}, "lines"),
    ("lines", {"lines": [{"seq": -1, "msg": "x"}]}, "lines[0].seq"),
    ("lines", {"lines": [{"seq": 0, "msg": "x", "level": "debug"}]}, "lines[0].level"),
    ("lines", {"lines": [{"seq": True, "msg": "x"}]}, "lines[0].seq"),
    ("progress", {"fraction": 2}, "fraction"),
    ("end", {}, "body"),
    ("end", {"output": 1, "error": "A: b"}, "body"),
    ("end", {"error": "no kind"}, "error"),
    ("end", {"output": 1, "give_up": True}, "give_up"),
    ("end", {"output": 1, "reason": "why"}, "reason"),
    ("end", {"retry_later_seconds": -1}, "retry_later_seconds"),
]


def test_a_wrong_call_of_a_run_names_the_field_and_writes_nothing(api: Api, key: dict[str, str | None]) -> None:
    job = api.trigger("wkr_resize")
    (run,) = claim(api, key)
    for name, body, wrong in _WRONG_CALLS:
        response = call(api, run, name, **body)
        error = error_of(response, 422, "validation_error")
        assert wrong in error["fields"], body
        assert error["message"].startswith(wrong), body
        assert show(api, job)["status"] == "running", body
    assert "lines" in error_of(call(api, run, "lines"), 400, "validation_error")["fields"]
    assert data(call(api, run, "end", error=f"Odd: {chr(0)}\ud800")) == {"status": "failed", "suspended": False}


def test_an_unknown_version_of_the_protocol_is_refused_with_the_known_ones(
    api: Api, key: dict[str, str | None]
) -> None:
    body = {"workers": ["wkr_resize"]}
    response = api.post(f"{RUNS}/claim", json=body, headers=key | {"AVA-Runs-Protocol": "2"})
    error_of(response, 400, "validation_error")
    assert "supported are 1" in response.text
    assert data(api.post(f"{RUNS}/claim", json=body, headers=key | {"AVA-Runs-Protocol": "1"})) == []


def test_why_says_who_asks_for_the_runs_and_who_has_them(api: Api, key: dict[str, str | None]) -> None:
    def why(job: dict[str, Any]) -> str:
        return str(data(api.get(f"{JOBS}/{job['id']}/why"))["sentence"])

    job = api.trigger("wkr_resize")
    assert why(job).startswith("queued: 0 ahead of it; a worker polled for runs of wkr_resize ")
    api.execute("UPDATE worker_claims SET claimed_at = now() - interval '3 minutes'")
    assert why(job) == "queued: no worker has polled for runs of wkr_resize for 3 min"
    api.execute("DELETE FROM worker_claims")
    assert why(job) == "queued: no worker has ever polled for runs of wkr_resize"
    claim(api, key, name="box 1")
    assert why(job).startswith("running on a pull worker, box 1, since ")
    api.execute("UPDATE pulled_runs SET heartbeat_at = now() - interval '20 s'")
    assert why(job).endswith("its worker has sent no heartbeat for 20 s, so the job is about to be rescued")


def test_why_blames_no_limit_of_a_worker_that_asks_for_no_runs(api: Api) -> None:
    make_worker(api, max_running=1)
    jobs = [api.trigger("wkr_resize") for _ in range(2)]

    def whys() -> list[str]:
        return [data(api.get(f"{JOBS}/{job['id']}/why"))["sentence"] for job in jobs]

    assert whys() == ["queued: no worker has ever polled for runs of wkr_resize"] * 2
    claim(api, make_key(api))
    assert whys()[1].startswith("queued: limit: wkr_resize of this tenant runs ")
    api.execute("UPDATE worker_claims SET claimed_at = now() - interval '3 minutes'")
    assert whys()[1] == "queued: no worker has polled for runs of wkr_resize for 3 min"


def test_no_job_is_offered_while_its_worker_is_not_live_or_the_queue_is_paused(
    api: Api, key: dict[str, str | None]
) -> None:
    api.execute("UPDATE worker_claims SET claimed_at = now() - interval '50 s'")
    api.trigger("wkr_resize")
    assert api.execute("SELECT published_at FROM jobs") == [(None,)]
    api.execute("UPDATE jobs SET published_at = now()")
    assert data(api.post("/v1/ava/queues/pull/pause", headers=OPERATOR))["queue"] == "pull"
    assert claim(api, key) == []
    api.post("/v1/ava/queues/pull/resume", headers=OPERATOR)
    assert len(claim(api, key)) == 1


@pytest.mark.parametrize("at_once", [1, 7])
def test_pulled_jobs_start_in_the_order_in_which_a_node_starts_them(api: Api, at_once: int) -> None:
    by_node, pulled = orders(api, jobs=60, at_once=at_once)
    assert pulled == by_node


def test_a_heartbeat_of_a_thousand_runs_needs_no_caller_for_the_shares_of_its_body(api: Api) -> None:
    tokens = [f"avarun_00.{'x' * 59}{number:04d}" for number in range(1000)]
    response = api.post(f"{RUNS}/heartbeat", json={"runs": tokens}, headers=dict.fromkeys(HEADERS))
    assert response.status_code == 200, response.text
    assert len(response.get_json()["data"]["lost"]) == 1000
