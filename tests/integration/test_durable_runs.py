"""Durable handlers over HTTP: the journal, steps, children and waits of a pulled run."""

from __future__ import annotations

from typing import Any

import pytest

from ava.dispatcher.duties.wakes import Wakes
from harness.api import HEADERS, JOBS, Api
from tests.pulled import RUNS, call, claim, data, make_key, make_worker, show, watch

Key = dict[str, str | None]


@pytest.fixture
def key(api: Api) -> Key:
    make_worker(api)
    key = make_key(api, triggers=["*"])
    # A worker that was never claimed gets no jobs.
    claim(api, key)
    return key


def _begin(api: Api, key: Key, **fields: Any) -> dict[str, Any]:
    """Trigger a job and claim its run."""
    api.trigger(worker_id="wkr_resize", **fields)
    (run,) = claim(api, key)
    return run


def _journal(api: Api, run: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    answer = api.get(f"{RUNS}/{run['run']}/journal", query_string=query, headers=dict.fromkeys(HEADERS))
    return [{name: entry[name] for name in ("kind", "name", "state", "value")} for entry in data(answer)]


def _child(api: Api, run: dict[str, Any], name: str, **fields: Any) -> dict[str, Any]:
    (made,) = data(call(api, run, "children", children=[{"name": name, "worker_id": "wkr_resize", **fields}]))
    return dict(made)


def test_a_step_is_recorded_once_and_its_first_result_stays(api: Api, key: Key) -> None:
    run = _begin(api, key)
    assert data(call(api, run, "steps", name="pay", state="done", value={"paid": 3})) == {"stop": False}
    assert data(call(api, run, "steps", name="pay", state="done", value={"paid": 3})) == {"stop": False}
    refused = call(api, run, "steps", name="pay", state="done", value={"paid": 4})
    assert refused.status_code == 409
    assert refused.get_json()["error"]["code"] == "resource_conflict"
    assert call(api, run, "steps", name="pay", state="began").status_code == 409
    assert data(call(api, run, "steps", name="null", state="done")) == {"stop": False}
    assert _journal(api, run) == [
        {"kind": "step", "name": "pay", "state": "done", "value": {"paid": 3}},
        {"kind": "step", "name": "null", "state": "done", "value": None},
    ]


def _lose(api: Api, key: Key) -> dict[str, Any]:
    """Let the run's heartbeats stop, and claim the next run."""
    api.execute("UPDATE pulled_runs SET heartbeat_at = clock_timestamp() - interval '1 minute' WHERE ended_at IS NULL")
    assert watch(api, *(2.0 * n for n in range(8)), 15.0) == 1
    return _claim(api, key)


def _claim(api: Api, key: Key, *workers: str) -> dict[str, Any]:
    """Publish all startable jobs, as a dispatcher would, and claim the first."""
    api.execute("UPDATE jobs SET published_at = now() WHERE status = 'queued' AND waits_for IS NULL")
    return claim(api, key, *workers)[0]


def test_a_step_that_an_earlier_run_began_is_interrupted(api: Api, key: Key) -> None:
    run = _begin(api, key)
    for _ in range(2):
        assert data(call(api, run, "steps", name="pay", state="began")) == {"stop": False}
    again = _lose(api, key)
    assert again["has_journal"]
    assert not run["has_journal"]
    for state in ({"state": "began"}, {"state": "done", "value": 1}):
        refused = call(api, again, "steps", name="pay", **state)
        assert (refused.status_code, refused.get_json()["error"]["code"]) == (409, "step_interrupted")
    assert call(api, run, "steps", name="other", state="began").status_code == 409


def test_children_are_created_once_and_only_of_the_workers_in_the_keys_triggers(api: Api, key: Key) -> None:
    run = _begin(api, key)
    first, other = _child(api, run, "one", input={"n": 1}), _child(api, run, "two")
    assert _child(api, run, "one") == first | {"status": "queued"}
    assert other["id"] != first["id"]
    shown = show(api, first)
    assert (shown["parent_id"], shown["input"], shown["triggered_by"]) == (run["job"]["id"], {"n": 1}, run["job"]["id"])
    poor = make_key(api, name="poor")
    call(api, run, "end", error="Error: on purpose", give_up=True)
    cancelled = [api.post(f"{JOBS}/{each['id']}/cancel") for each in (first, other)]
    assert [each.status_code for each in cancelled] == [200, 200]
    second = _begin(api, poor)
    refused = call(api, second, "children", children=[{"name": "one", "worker_id": "wkr_resize"}])
    assert refused.status_code == 403
    assert "triggers" in refused.get_json()["error"]["message"]


def test_a_wait_for_children_suspends_and_the_next_run_reads_their_outputs(api: Api, key: Key) -> None:
    run = _begin(api, key)
    child = _child(api, run, "one")
    waits = [{"jobs": [child["id"]]}]
    for _ in range(2):
        assert data(call(api, run, "end", waits=waits)) == {"status": "queued", "suspended": True}
    assert call(api, run, "end", output=1).status_code == 409
    assert call(api, run, "steps", name="late", state="began").status_code == 409
    assert show(api, run["job"])["waits_for"] == "children"
    claimed = _claim(api, key)
    assert claimed["job"]["id"] == child["id"]
    assert data(call(api, claimed, "end", output={"n": 7})) == {"status": "completed", "suspended": False}
    Wakes(api.database).run_once(0)
    again = _claim(api, key)
    assert again["job"]["id"] == run["job"]["id"]
    assert again["has_journal"]
    assert data(call(api, again, "end", waits=waits)) == {"status": "running", "suspended": False}
    (output,) = data(call(api, again, "outputs", jobs=[child["id"]]))
    assert (output["output"], output["status"]) == ({"n": 7}, "completed")
    assert data(call(api, again, "end", output="over"))["status"] == "completed"


def test_any_of_several_waits_satisfies_and_the_server_records_the_choice(api: Api, key: Key) -> None:
    run = _begin(api, key)
    first, other = _child(api, run, "one"), _child(api, run, "two")
    data(call(api, _claim(api, key), "end", output=1))
    waits = [
        {"name": "race", "jobs": [first["id"], other["id"]], "any": True, "timeout_seconds": 60},
        {"name": "pause", "seconds": 60},
        {"name": "late", "event": {"type": "order.paid", "match": {"data": {"order": ["A1"]}}}, "timeout_seconds": 0},
    ]
    assert data(call(api, run, "end", waits=waits)) == {"status": "running", "suspended": False}
    entries = {entry["name"]: entry for entry in _journal(api, run)}
    assert [entries[name]["state"] for name in ("race", "pause", "late")] == ["done", "waits", "timed_out"]


def test_an_event_that_has_come_is_the_result_of_its_wait(api: Api, key: Key) -> None:
    run = _begin(api, key)
    sent = data(api.post("/v1/ava/events", json={"type": "order.paid", "data": {"order": "A1"}}), 201)
    waits = [{"name": "paid", "event": {"type": "order.paid"}, "timeout_seconds": 60}]
    assert data(call(api, run, "end", waits=waits)) == {"status": "running", "suspended": False}
    (entry,) = _journal(api, run)
    assert (entry["kind"], entry["state"], entry["value"]["id"]) == ("event", "done", sent["id"])


def test_waits_for_strangers_and_malformed_waits_are_refused(api: Api, key: Key) -> None:
    run = _begin(api, key)
    stranger = api.trigger()["id"]
    for waits, field in (
        ([{"jobs": [stranger]}], "jobs"),
        ([{"seconds": 0.5}], "waits"),
        ([{"seconds": 5, "event": {"type": "a"}}], "waits"),
        ([{"name": "a", "seconds": 5}, {"name": "a", "seconds": 5}], "waits"),
        ([{"event": {"type": "order.*"}}], "waits"),
        ([], "waits"),
    ):
        refused = call(api, run, "end", waits=waits)
        assert refused.status_code == 422, (waits, refused.text)
        assert any(name.startswith(field) for name in refused.get_json()["error"]["fields"]), (waits, refused.text)
    assert call(api, run, "outputs", jobs=[stranger]).status_code == 422
    assert data(call(api, run, "end", output=1))["status"] == "completed"


def test_a_stop_refuses_children_and_makes_a_wait_the_end(api: Api, key: Key) -> None:
    run = _begin(api, key)
    api.post(f"{JOBS}/{run['job']['id']}/cancel")
    refused = call(api, run, "children", children=[{"name": "one", "worker_id": "wkr_resize"}])
    assert refused.status_code == 409
    assert data(call(api, run, "steps", name="pay", state="done", value=1)) == {"stop": True}
    assert data(call(api, run, "end", waits=[{"seconds": 60}])) == {"status": "cancelled", "suspended": True}


def test_a_new_attempt_forgets_failed_children_and_waits_but_no_step(api: Api, key: Key) -> None:
    make_worker(api, "retried", retry={"max": 1, "delays_seconds": [0]})
    retried = make_key(api, "wkr_retried", triggers=["wkr_resize"])
    claim(api, retried, "wkr_retried")
    api.trigger(worker_id="wkr_retried")
    (run,) = claim(api, retried, "wkr_retried")
    data(call(api, run, "steps", name="pay", state="done", value=1))
    child = _child(api, run, "one")
    data(call(api, _claim(api, key), "end", error="Error: on purpose", give_up=True))
    data(call(api, run, "end", waits=[{"name": "w", "jobs": [child["id"]], "any": True}]))
    data(call(api, run, "end", error="Error: again"))
    api.execute("UPDATE jobs SET waits_for = NULL, run_at = NULL WHERE waits_for = 'retry'")
    again = _claim(api, retried, "wkr_retried")
    assert again["job"]["attempt"] == 2
    assert [entry["name"] for entry in _journal(api, again)] == ["pay"]
    assert _child(api, again, "one")["id"] != child["id"]


def test_a_stolen_token_acts_for_its_job_alone(api: Api, key: Key) -> None:
    run, other = _begin(api, key), _begin(api, key)
    child = _child(api, other, "one")
    assert call(api, run, "outputs", jobs=[child["id"]]).status_code == 422
    assert call(api, run, "end", waits=[{"jobs": [child["id"]]}]).status_code == 422
    data(call(api, run, "end", output=1))
    late = api.get(f"{RUNS}/{run['run']}/journal", headers=dict.fromkeys(HEADERS))
    assert late.status_code == 409
    for path, body in (
        ("steps", {"name": "a", "state": "done"}),
        ("children", {"children": [{"name": "a", "worker_id": "wkr_resize"}]}),
        ("outputs", {"jobs": [child["id"]]}),
        ("end", {"waits": [{"seconds": 5}]}),
    ):
        assert call(api, run, path, **body).status_code == 409
        unknown = {"run": run["run"][:-4] + "AAAA"}
        assert call(api, unknown, path, **body).status_code == 404
