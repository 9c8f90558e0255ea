"""Calls and duties while responses of commits are lost: what is repeated makes nothing twice.

Every writing operation of /openapi.json is called; the calls of pulled runs and of hooks, and wakes, are followed.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from werkzeug.test import TestResponse

from ava.dispatcher.duties.wakes import Wakes
from ava.domain.jobs.run_outcome import Ending
from ava.errors import DatabaseUnavailable
from ava.settings import Settings
from ava.store.engine.database import Database
from ava.store.jobs.transitions import end, pull, rescue
from chaos.faults.lost_commits import API, ELSEWHERE, RUNS
from harness.api import Api
from harness.commit_cuts import CommitCuts
from harness.polling import wait_until
from tests import pulled
from tests.graphs import Graphs
from tests.integration.described_calls import Call, calls_of
from tests.integration.hook_sender import Hook, count_jobs
from tests.integration.test_payload_permission import fill
from tests.lost_commits import cut_statements, settle
from tests.runs import ended

_TRIES, _PAUSE_SECONDS = 30, 0.1
#: These create nothing that a client has asked for, or in as many rows as there are requests.
_UNCOUNTED = ("audit", "audit_first", "audit_rest", "sessions", "session_links", "idempotency_keys", "wakes")
#: These do something anew each time, and take no key.
_DONE_ANEW = (
    *("POST /v1/webhooks/{webhook_id}/test", "POST /v1/ava/notices/{notice_id}/test"),
    *("POST /v1/ava/session", "POST /v1/ava/session/links"),
)
_TABLES = """
SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
"""
_JOB, _PULLED = "/v1/ava/jobs", "/v1/ava/workers/wkr_late"
_TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()
_DEBOUNCED = {"worker_id": "wkr_open", "debounce": {"key": "index", "seconds": 60}}
_REPLACED = {"worker_id": "wkr_open", "scheduled_at": _TOMORROW, "dedupe": {"key": "a", "mode": "replace"}}
_GRAPH = {"jobs": [{"worker_id": "wkr_open", "name": "a"}, {"worker_id": "wkr_open", "name": "b", "after": ["a"]}]}
#: Calls beyond the examples of /openapi.json: method, path, body, and how many jobs each makes.
_FURTHER = (
    ("POST", _JOB, _DEBOUNCED, 1),
    ("POST", _JOB, _DEBOUNCED, 0),
    ("POST", _JOB, _REPLACED, 1),
    ("POST", _JOB, _REPLACED, 1),
    ("POST", f"{_JOB}/bulk", _GRAPH, 2),
    ("PATCH", f"{_JOB}/QUEUED", {"priority": 4}, 0),
    ("POST", "/v1/ava/workers", {"slug": "late", "runtime": "pull"}, 0),
    ("PATCH", _PULLED, {"name": "Later"}, 0),
    ("DELETE", _PULLED, None, 0),
    *(("POST", f"/v1/ava/workers/wkr_open/{verb}", {"scope": "platform"}, 0) for verb in ("pause", "resume")),
)


class _Client:
    """A client that repeats what was not answered, with the same key, as the docs ask for."""

    def __init__(self, api: Api, cut: Api) -> None:
        self.api = api
        self.cut = cut
        self.tables = [name for (name,) in api.execute(_TABLES) if name not in _UNCOUNTED]
        #: How many responses were 503.
        self.unavailable = 0

    def send(self, api: Api, call: Call) -> tuple[int, dict[str, int]]:
        """Send a call until it is answered. Returns its status, and how many rows each table has got."""
        # A slow commit of the call before may still be under way.
        settle(self.api.database)
        before = self._counts()
        headers: dict[str, str | None] = {"Idempotency-Key": uuid.uuid4().hex, **pulled.OPERATOR}
        for _ in range(_TRIES):
            response = api.request(call.method, call.path, headers=headers, json=call.body)
            if response.status_code != 503:
                break
            assert "retry-after" in response.headers, call.name
            self.unavailable += 1
            time.sleep(_PAUSE_SECONDS)
        assert response.status_code < 500, (call.name, response.text)
        after = self._counts()
        return response.status_code, {name: after[name] - before[name] for name in after if after[name] != before[name]}

    def _counts(self) -> dict[str, int]:
        parts = (f"SELECT '{name}', count(*) FROM {name} WHERE tenant_id = 'ten_test'" for name in self.tables)
        return dict(tuple(row) for row in self.api.execute(" UNION ALL ".join(parts)))


@pytest.fixture
def client(api: Api, api_settings: Settings, cuts: CommitCuts) -> Iterator[_Client]:
    settings = replace(api_settings, database_url=cuts.url, database_pool_url="")
    with Api.running(settings, workers=False) as cut:
        yield _Client(api, cut)


def test_a_call_whose_commit_lost_its_response_is_repeated_and_makes_nothing_twice(
    api: Api, client: _Client, cuts: CommitCuts
) -> None:
    examples = [call for call in calls_of(api, fill(api)) if call.method != "GET"]
    workers = {name for call in examples for name in re.findall(r"wkr_\w+", json.dumps(call.body))}
    for worker_id in workers:
        api.announce(worker_id)
    queued = api.trigger("wkr_open", scheduled_at=_TOMORROW)["id"]
    for call in examples:
        status, made = client.send(client.cut, call)
        if status == 201 and call.name not in _DONE_ANEW:
            # Another request, which nothing cuts, makes as much, unless the name is taken by now.
            again = client.send(api, call)
            assert again in ((201, made), (409, {})), (call.name, made, again)
    for method, path, body, jobs in _FURTHER:
        call = replace(examples[0], name=path, method=method, path=path.replace("QUEUED", queued), body=body)
        status, made = client.send(client.cut, call)
        assert status < 300 or (status == 404 and method == "DELETE"), (call.name, status)
        assert made.get("jobs", 0) == jobs, (call.name, made)
    assert client.unavailable > 20
    cut = cut_statements(cuts)
    assert [name for name in cut if name.startswith("unknown")] == []
    assert {name for name, reason in ELSEWHERE.items() if reason is API} - cut == set()


def _insist(call: Callable[[], TestResponse]) -> Any:
    """Repeat a call until it is answered. Returns the data of the response."""
    for _ in range(_TRIES):
        if (response := call()).status_code != 503:
            break
        time.sleep(_PAUSE_SECONDS)
    assert response.status_code < 300, response.text
    return response.get_json()["data"]


def test_a_delivery_of_a_hook_that_is_sent_again_makes_one_job(api: Api, client: _Client, cuts: CommitCuts) -> None:
    hook = Hook(api, worker_id="wkr_open")
    hook.api = client.cut
    receipt = _insist(hook.send)
    assert any("events.hook_deliveries.accept" in kind for kind in cuts.cut)
    assert len(receipt["job_ids"]) == count_jobs(api) == 1


def test_a_pulled_run_that_is_ended_again_has_one_end(api: Api, client: _Client, cuts: CommitCuts) -> None:
    pulled.make_worker(api)
    key = pulled.make_key(api)
    pulled.claim(api, key)
    job = api.trigger("wkr_resize")
    (run,) = pulled.claim(api, key)
    _insist(lambda: pulled.call(client.cut, run, "progress", fraction=0.5))
    _insist(lambda: pulled.call(client.cut, run, "lines", lines=[{"seq": 0, "msg": "half"}]))
    assert _insist(lambda: pulled.call(client.cut, run, "end", output=1))["status"] == "completed"
    assert any("jobs.transitions.pull.mark_ended" in kind for kind in cuts.cut)
    assert (pulled.show(api, job)["status"], pulled.show(api, job)["attempt"]) == ("completed", 1)


def test_durable_calls_of_a_pulled_run_are_repeated_without_a_second_effect(
    api: Api, client: _Client, cuts: CommitCuts
) -> None:
    pulled.make_worker(api)
    key = pulled.make_key(api, triggers=["*"])
    pulled.claim(api, key)
    job = api.trigger("wkr_resize")
    (run,) = pulled.claim(api, key)
    for name in ("one", "two"):
        assert _insist(lambda name=name: pulled.call(client.cut, run, "steps", name=name, state="done")) == {
            "stop": False
        }
    children = [{"name": "part", "worker_id": "wkr_resize"}]
    made = [_insist(lambda: pulled.call(client.cut, run, "children", children=children)) for _ in range(2)]
    assert made[0] == made[1]
    waits = [{"name": "pause", "seconds": 60}]
    assert _insist(lambda: pulled.call(client.cut, run, "end", waits=waits)) == {"status": "queued", "suspended": True}
    assert {name for name, reason in ELSEWHERE.items() if reason is RUNS} - cut_statements(cuts) == set()
    assert count_jobs(api) == 2
    entries = api.get(f"/v1/ava/jobs/{job['id']}/journal").get_json()["data"]
    assert sorted(entry["name"] for entry in entries) == ["one", "part", "pause", "two"]


def test_a_pulled_claim_without_its_response_is_no_loss(api: Api, client: _Client, cuts: CommitCuts) -> None:
    pulled.make_worker(api)
    key = pulled.make_key(api)
    pulled.claim(api, key)
    job = api.trigger("wkr_resize")
    body = {"workers": ["wkr_resize"]}
    response = client.cut.post(f"{pulled.RUNS}/claim", json=body, headers=key)
    while ("jobs.transitions.pull.claim",) not in cuts.cut:
        response = client.cut.post(f"{pulled.RUNS}/claim", json=body, headers=key)
    assert response.status_code == 503
    wait_until(lambda: pulled.show(api, job)["status"] == "running", what="the claim is committed")
    with api.database.transaction() as connection:
        silent = list(pull.missed(connection, seconds=-1.0, limit=10).items())
        ((run, claim_id, has_begun),) = pull.lock_expired(connection, silent)
        assert not has_begun
        rescue.rescue_pulled(connection, [(run, claim_id)], msg="lost", error="lost", has_begun=has_begun)
    assert api.execute("SELECT status, losses, attempt FROM jobs") == [("queued", 0, 0)]


def test_wakes_that_are_followed_again_start_each_job_once(
    api: Api, client: _Client, cuts: CommitCuts, graphs: Graphs
) -> None:
    jobs = graphs.declare(a={}, b={"after": ["a"]}, c={"after": ["a"], "input": {"x": {"$output": "a"}}})
    run, claim_id = graphs.start(jobs["a"])
    with api.database.connect() as connection:
        how = ended(connection, run, Ending.COMPLETED, [], claim_id=claim_id, output_json="7")
        end.end(connection, how)
    database = Database(cuts.url, name="tests")
    wakes = Wakes(database)
    while graphs.startable(jobs) != {"b", "c"}:
        with suppress(DatabaseUnavailable):
            wakes.run_once(0)
    database.close()
    assert any("jobs.wake_queue.take_jobs" in kind for kind in cuts.cut)
    assert graphs.show(jobs["c"])["input"] == {"x": 7}
    assert api.execute("SELECT max(run_no) FROM jobs WHERE status = 'queued'") == [(0,)]
