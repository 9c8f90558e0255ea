"""Events and subscriptions: an event makes the jobs of those who subscribe to it, in its own transaction."""

from __future__ import annotations

import itertools
import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from ava.dispatcher.duties.probed_work import EventFanOut
from ava.dispatcher.duties.retention import of_events
from ava.process import pauses
from ava.services.creation.job_creator import JobCreator
from ava.services.events.event_jobs import EventJobs
from ava.store.events import events
from harness.api import Api, error_of, wrong_fields

EVENTS = "/v1/ava/events"
SUBSCRIPTIONS = "/v1/ava/subscriptions"
ORDER = {"type": "order.paid", "data": {"number": 7, "total": 12.5}}


def _subscribe(api: Api, **fields: Any) -> dict[str, Any]:
    response = api.post(SUBSCRIPTIONS, json={"event_type": "order.paid", "worker_id": "wkr_open", **fields})
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.get_json()["data"]
    return found


def _send(api: Api, event: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
    response = api.post(EVENTS, json=event or ORDER, **rest)
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.get_json()["data"]
    return found


def _job(api: Api, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/v1/ava/jobs/{job_id}").get_json()["data"]
    return found


def test_an_event_makes_a_job_of_each_subscription_that_it_matches(api: Api) -> None:
    first = _subscribe(api, match={"data": {"number": [{"numeric": [">", 5]}]}}, priority=2)
    _subscribe(api, match={"data": {"number": [8]}})
    _subscribe(api, paused=True)
    _subscribe(api, event_type="order.refunded")
    star = _subscribe(api, event_type="order.*", input={"n": {"$get": "data.number"}, "x": {"$get": "data.x"}})
    sent = _send(api)
    assert (len(sent["job_ids"]), sent["refused"], sent["more_count"], sent["duplicate"]) == (2, [], 0, False)
    of_first, of_star = (_job(api, job_id) for job_id in sent["job_ids"])
    assert (of_first["trigger"], of_first["triggered_by"], of_first["priority"]) == ("event", first["id"], 2)
    assert of_first["input"]["event"]["data"] == ORDER["data"]
    assert of_first["input"]["event"]["id"] == sent["id"]
    assert (of_star["triggered_by"], of_star["input"]) == (star["id"], {"n": 7, "x": None})
    shown = api.get(f"{EVENTS}/{sent['id']}").get_json()["data"]
    assert shown["job_ids"] == sent["job_ids"]
    assert of_first["input"]["event"] == {name: shown[name] for name in of_first["input"]["event"]}
    assert api.get(f"{SUBSCRIPTIONS}/{star['id']}").get_json()["data"] == star


def test_a_job_that_cannot_be_made_is_named_and_the_others_stand(api: Api) -> None:
    api.announce("wkr_gone")
    api.announce("wkr_strict")
    gone, strict = _subscribe(api, worker_id="wkr_gone"), _subscribe(api, worker_id="wkr_strict")
    paused, no_object = _subscribe(api, worker_id="wkr_paused"), _subscribe(api, input={"$get": "type"})
    api.execute("DELETE FROM workers WHERE id = 'wkr_gone'")
    api.execute(
        'UPDATE workers SET input_schema = \'{"type":"object","required":["x"]}\', input_schema_version = \'v\''
        " WHERE id = 'wkr_strict'"
    )
    sent = _send(api)
    assert [_job(api, job_id)["triggered_by"] for job_id in sent["job_ids"]] == [paused["id"]]
    reasons = {each["subscription_id"]: each["reason"] for each in sent["refused"]}
    assert set(reasons) == {gone["id"], strict["id"], no_object["id"]}
    assert "No such worker" in reasons[gone["id"]]
    assert "x" in reasons[strict["id"]]
    assert "must be an object" in reasons[no_object["id"]]
    assert api.get(f"{EVENTS}/{sent['id']}").get_json()["data"]["refused"] == sent["refused"]


def test_the_same_source_and_id_are_the_same_event_for_a_day(api: Api) -> None:
    _subscribe(api)
    first = _send(api, {**ORDER, "id": "1", "source": "/shop"})
    again = _send(api, {**ORDER, "id": "1", "source": "/shop", "data": "other"})
    assert again == {**first, "duplicate": True}
    assert _send(api, {**ORDER, "id": "1"})["id"] != first["id"]
    assert _send(api)["id"] != _send(api)["id"]
    api.execute("UPDATE received_keys SET until = now()")
    assert _send(api, {**ORDER, "id": "1", "source": "/shop"})["duplicate"] is False


def test_many_events_are_sent_at_once_all_or_none(api: Api) -> None:
    _subscribe(api)
    events = [{**ORDER, "id": "1"}, {"type": "other", "data": None}, {**ORDER, "id": "1"}]
    response = api.post(EVENTS, json={"events": events})
    assert response.status_code == 201, response.text
    one, two, three = response.get_json()["data"]
    assert (len(one["job_ids"]), two["job_ids"], three) == (1, [], {**one, "duplicate": True})
    wrong = api.post(EVENTS, json={"events": [ORDER, {"type": "ava.job.completed", "data": 1}]})
    assert list(wrong_fields(wrong)) == ["events[1].type"]
    assert api.get(EVENTS).get_json()["pagination"]["total"] == 2


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"type": "ava.job.completed", "data": 1}, 422, "type"),
        ({"type": "a b", "data": 1}, 422, "type"),
        ({"type": "a" * 201, "data": 1}, 422, "type"),
        ({"type": "a", "data": 1, "source": "\ud800"}, 422, "source"),
        ({"events": [{"type": "a", "data": 1}] * 1001}, 422, "events"),
        ({"events": [{"data": 1}]}, 400, "events[0].type"),
    ],
)
def test_a_wrong_event_is_refused_and_its_field_named(shared_api: Api, body: Any, status: int, field: str) -> None:
    response = shared_api.post_raw(json.dumps(body).encode(), EVENTS)
    assert field in error_of(response, status, "validation_error")["fields"]


def test_data_with_nul_and_half_characters_survives(api: Api) -> None:
    _subscribe(api, match={"data": {"a": ["\0\ud800"]}})
    response = api.post_raw(b'{"type": "order.paid", "data": {"a": "\\u0000\\ud800"}}', EVENTS)
    sent = response.get_json()["data"]
    assert _job(api, sent["job_ids"][0])["input"]["event"]["data"] == {"a": "\0\ud800"}
    response = api.post_raw(b'{"type": "order.paid", "data": 1e999}', EVENTS)
    assert "data" in wrong_fields(response)


@pytest.mark.parametrize("write", [to_structured_event, to_binary_event])
def test_cloud_events_are_taken(api: Api, write: Any) -> None:
    _subscribe(api)
    attributes = {"id": "c1", "source": "/ce", "type": "order.paid", "subject": "7", "tenant": "x"}
    message = write(CloudEvent(attributes, {"number": 7}))
    response = api.post(EVENTS, data=message.body, headers=dict(message.headers))
    assert response.status_code == 201, response.text
    sent = response.get_json()["data"]
    shown = api.get(f"{EVENTS}/{sent['id']}").get_json()["data"]
    assert (shown["source_id"], shown["source"], shown["subject"], shown["data"]) == ("c1", "/ce", "7", {"number": 7})
    assert shown["extensions"]["tenant"] == "x"
    assert len(sent["job_ids"]) == 1


def test_a_batch_of_cloud_events_is_taken_and_another_version_is_not(api: Api) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "a"}
    batch = json.dumps([event, {**event, "id": "2"}]).encode()
    response = api.post_raw(batch, EVENTS, "application/cloudevents-batch+json")
    assert len(response.get_json()["data"]) == 2
    old = json.dumps({**event, "specversion": "0.3"}).encode()
    fields = wrong_fields(api.post_raw(old, EVENTS, "application/cloudevents+json"))
    assert list(fields) == ["specversion"]
    error_of(api.post_raw(b"[]", EVENTS, "application/cloudevents-batch+json"), 422, "validation_error")
    error_of(api.post_raw(b"<a/>", EVENTS, "application/cloudevents+xml"), 415, "unsupported_media_type")


def test_events_are_listed_by_type_source_and_time(api: Api) -> None:
    ids = [_send(api, {"type": each, "data": 1, "source": source})["id"] for each, source in (("a", "/x"), ("b", "/x"))]
    for query, found in (
        ("", ids[::-1]),
        ("filter[type]=a", ids[:1]),
        ("filter[source]=/x", ids[::-1]),
        ("filter[type]=b&filter[source]=/x", ids[1:]),
        ("filter[type]=b&filter[source]=/y", []),
        ("until=2020-01-01", []),
        ("since=2020-01-01&per_page=1", ids[1:]),
    ):
        page = api.get(f"{EVENTS}?{query}").get_json()
        assert [event["id"] for event in page["data"]] == found, query
    cursor = api.get(f"{EVENTS}?per_page=1").get_json()["pagination"]["next_cursor"]
    assert [event["id"] for event in api.get(f"{EVENTS}?cursor={cursor}").get_json()["data"]] == ids[:1]
    error_of(api.get(f"{EVENTS}?since=2020-01-02&until=2020-01-02"), 400, "validation_error")


def test_lower_roles_see_no_credentials_in_events(api: Api) -> None:
    sent = _send(api, {"type": "a", "data": {"api_token": "s3cret", "x": 1}})
    shown = api.get(f"{EVENTS}/{sent['id']}", headers={"x-platform-role": "tenant-user"}).get_json()["data"]
    assert shown["data"] == {"api_token": "••••••", "x": 1}


# The fan-out ---------------------------------------------------------------------------------------------------------


def test_jobs_beyond_a_hundred_are_made_by_the_duty_each_once(api: Api) -> None:
    api.execute(
        "INSERT INTO subscriptions (tenant_id, event_type, worker_id, priority, created_by)"
        " SELECT 'ten_test', 'order.paid', 'wkr_open', 5, 'usr_test' FROM generate_series(1, 250)"
    )
    _subscribe(api)
    sent = _send(api)
    assert (len(sent["job_ids"]), sent["more_count"]) == (100, 151)
    # Another event shares the room of its request.
    bulk = api.post(EVENTS, json={"events": [ORDER, ORDER]}).get_json()["data"]
    assert [(len(each["job_ids"]), each["more_count"]) for each in bulk] == [(100, 151), (0, 251)]
    duty = EventFanOut(api.database, EventJobs(JobCreator()))
    # A transaction that was not committed has done nothing.
    with pytest.raises(RuntimeError):
        _run_and_die(api)
    assert duty.run_once(0) == 151 + 151 + 251
    assert duty.run_once(0) == 0
    for event in (sent, *bulk):
        shown = api.get(f"{EVENTS}/{event['id']}").get_json()["data"]
        assert (len(set(shown["job_ids"])), shown["more_count"]) == (251, 0)
    ((jobs, subscriptions),) = api.execute("SELECT count(*), count(DISTINCT triggered_by) FROM jobs")
    assert (jobs, subscriptions) == (3 * 251, 251)


def test_jobs_beyond_a_hundred_are_of_the_subscriptions_that_the_event_found(api: Api) -> None:
    api.execute(
        "INSERT INTO subscriptions (tenant_id, event_type, worker_id, priority, created_by)"
        " SELECT 'ten_test', 'order.paid', 'wkr_open', 5, 'usr_test' FROM generate_series(1, 100)"
    )
    changed, paused, deleted, resumed = (_subscribe(api, input={"was": n}, paused=n == 3) for n in range(4))
    sent = _send(api)
    assert (len(sent["job_ids"]), sent["more_count"]) == (100, 3)
    change = {"input": {"was": "changed"}, "priority": 1}
    for _ in range(2):
        assert api.request("PATCH", f"{SUBSCRIPTIONS}/{changed['id']}", json=change).status_code == 200
        assert api.post(f"{SUBSCRIPTIONS}/{paused['id']}/pause").status_code == 200
    # A change of a paused subscription retains no former state of it.
    assert api.request("PATCH", f"{SUBSCRIPTIONS}/{paused['id']}", json={"input": {"was": 9}}).status_code == 200
    assert api.request("DELETE", f"{SUBSCRIPTIONS}/{deleted['id']}").status_code == 200
    assert api.post(f"{SUBSCRIPTIONS}/{resumed['id']}/resume").status_code == 200
    later = _subscribe(api, input={"was": "later"})
    again = _send(api)
    assert (len(again["job_ids"]), again["more_count"]) == (100, 3)
    api.execute("UPDATE former_subscriptions SET ended_at = now() - interval '2 hours'")
    retention = of_events(api.database, retention_days=30, event_days=30)
    retention.run_once(0)
    duty = EventFanOut(api.database, EventJobs(JobCreator()))
    assert duty.run_once(0) == 6

    def made_by(event: dict[str, Any]) -> list[tuple[str, Any]]:
        job_ids = api.get(f"{EVENTS}/{event['id']}").get_json()["data"]["job_ids"]
        return [(job["triggered_by"], job["input"]["was"]) for job in (_job(api, each) for each in job_ids[100:])]

    assert made_by(sent) == [(changed["id"], 0), (paused["id"], 1), (deleted["id"], 2)]
    assert made_by(again) == [(changed["id"], "changed"), (resumed["id"], 3), (later["id"], "later")]
    assert api.execute("SELECT count(*) > 0 FROM former_subscriptions") == [(True,)]
    retention.run_once(0)
    assert api.execute("SELECT count(*) FROM former_subscriptions") == [(0,)]


def _run_and_die(api: Api) -> None:
    with api.database.transaction() as connection:
        claimed = events.claim_unfinished(connection, after_tenant="")
        assert claimed is not None
        assert EventJobs(JobCreator()).continue_event(connection, claimed) == 100
        raise RuntimeError("killed")


_LONG = {"type": "order.paid", "data": {"items": [{"sku": "y"}] * 20_000}}


def test_a_subscription_whose_pattern_needs_too_many_comparisons_is_named_and_the_others_stand(api: Api) -> None:
    costly = _subscribe(api, match={"data": {"items": {"sku": ["x"]}}})
    cheap = _subscribe(api, match={"type": ["order.paid"]})
    sent = _send(api, _LONG)
    assert [_job(api, job_id)["triggered_by"] for job_id in sent["job_ids"]] == [cheap["id"]]
    ((refused, reason),) = [each.values() for each in sent["refused"]]
    assert refused == costly["id"]
    assert "(limit pattern_comparisons)" in reason
    tried = api.post(f"{SUBSCRIPTIONS}/test", json={"event": _LONG, "match": {"data": {"items": {"sku": ["x"]}}}})
    assert "limit pattern_comparisons" in wrong_fields(tried)["match"][0]


def test_events_that_all_subscriptions_together_compare_for_too_long_are_refused_and_not_stored(api: Api) -> None:
    match = {"data": {"items": [{"prefix": "x"}]}}
    for _ in range(3):
        _subscribe(api, match=match)
    events = [{"type": "order.paid", "data": {"items": ["y"] * 9_000}}] * 20
    refused = api.post(EVENTS, json={"events": events})
    assert "limit event_comparisons" in wrong_fields(refused)["data"][0]
    assert api.get(EVENTS).get_json()["pagination"]["total"] == 0
    assert api.post(EVENTS, json={"events": events[:2]}).status_code == 201


def test_a_thousand_events_of_one_request_let_others_go_on_in_between(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[float] = []
    # Each look at the clock takes a millisecond, and a pause follows after more than two.
    clock = SimpleNamespace(monotonic=partial(next, itertools.count(0, 0.001)), sleep=turns.append)
    monkeypatch.setattr(pauses, "time", clock)
    assert api.post(EVENTS, json={"events": [{"type": "order.paid", "data": 1}] * 1_000}).status_code == 201
    assert len(turns) > 200


def test_one_event_copies_at_most_32_mib_into_the_inputs_of_its_jobs(api: Api) -> None:
    api.execute(
        "INSERT INTO subscriptions (tenant_id, event_type, worker_id, priority, created_by)"
        " SELECT 'ten_test', 'order.paid', 'wkr_open', 5, 'usr_test' FROM generate_series(1, 399)"
    )
    _subscribe(api)
    sent = _send(api, {"type": "order.paid", "data": "x" * 700_000})
    # 4 MiB of inputs in the event's transaction, and in each of the duty.
    assert (len(sent["job_ids"]), sent["more_count"], sent["refused"]) == (5, 395, [])
    duty = EventFanOut(api.database, EventJobs(JobCreator()))
    while duty.run_once(0):
        pass
    shown = api.get(f"{EVENTS}/{sent['id']}").get_json()["data"]
    assert (len(shown["job_ids"]), len(shown["refused"]), shown["more_count"]) == (47, 353, 0)
    assert all("(limit event_copied_bytes)" in each["reason"] for each in shown["refused"])
    ((jobs, size),) = api.execute("SELECT count(*), sum(octet_length(input::text)) FROM jobs")
    assert (jobs, size < 32 * 2**20) == (47, True)
    assert len({each["subscription_id"] for each in shown["refused"]}) == 353


# Subscriptions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"event_type": "ava.job.*"}, 422, "event_type"),
        ({"match": {"data": {"a": [{"regex": "x"}]}}}, 422, "match.data.a[0]"),
        ({"input": {"a": {"$get": "environ.PATH"}}}, 422, "input.a"),
        ({"input": {"a": {"$get": "data", "x": 1}}}, 422, "input.a"),
    ],
)
def test_a_wrong_subscription_is_refused_with_the_path(
    shared_api: Api, fields: dict[str, Any], status: int, field: str
) -> None:
    body = {"event_type": "a", "worker_id": "wkr_open", **fields}
    assert field in error_of(shared_api.post(SUBSCRIPTIONS, json=body), status, "validation_error")["fields"]


def test_a_subscription_is_changed_and_deleted_and_acts_at_once(api: Api) -> None:
    error_of(api.post(SUBSCRIPTIONS, json={"event_type": "a", "worker_id": "wkr_none"}), 404, "resource_not_found")
    subscription = _subscribe(api, name="mine")
    path = f"{SUBSCRIPTIONS}/{subscription['id']}"
    assert len(_send(api)["job_ids"]) == 1
    changed = api.request("PATCH", path, json={"match": {"data": {"number": [8]}}, "name": None})
    assert (changed.get_json()["data"]["match"], changed.get_json()["data"]["name"]) == (
        {"data": {"number": [8]}},
        None,
    )
    assert _send(api)["job_ids"] == []
    api.request("PATCH", path, json={"match": None})
    assert len(_send(api)["job_ids"]) == 1
    assert api.request("DELETE", path).get_json()["data"]["deleted"] is True
    assert _send(api)["job_ids"] == []
    error_of(api.get(path), 404, "resource_not_found")


def test_a_tenant_has_ten_thousand_subscriptions_and_an_event_finds_those_that_match(api: Api) -> None:
    made = api.post(SUBSCRIPTIONS, json={"event_type": "order.paid", "worker_id": "wkr_open"})
    assert made.status_code == 201
    api.execute("""
INSERT INTO subscriptions (tenant_id, event_type, worker_id, match, priority, created_by)
SELECT 'ten_test', 'order.paid', 'wkr_open', json_build_object('data', json_build_object('shop', json_build_array(n))),
    5, 'usr_test' FROM generate_series(1, 9999) AS n""")
    full = api.post(SUBSCRIPTIONS, json={"event_type": "order.paid", "worker_id": "wkr_open"})
    assert "(limit subscriptions)" in error_of(full, 409, "resource_conflict")["message"]
    sent = api.post(EVENTS, json={"type": "order.paid", "data": {"shop": 7000}}).get_json()["data"]
    assert (len(sent["job_ids"]), sent["more_count"], sent["refused"]) == (2, 0, [])


def test_a_subscription_is_tried_on_an_event(api: Api) -> None:
    event = {"type": "order.paid", "data": {"number": 7}}
    asked = {"event": event, "event_type": "order.*", "match": {"data": {"number": [7]}}, "input": {"$get": "data"}}
    tried = api.post(f"{SUBSCRIPTIONS}/test", json=asked).get_json()["data"]
    assert tried == {"matches": True, "reason": None, "input": {"number": 7}}
    asked["match"] = {"data": {"number": [8]}}
    tried = api.post(f"{SUBSCRIPTIONS}/test", json=asked).get_json()["data"]
    assert tried == {"matches": False, "reason": "data.number: 7 does not match [8]", "input": None}
    tried = api.post(f"{SUBSCRIPTIONS}/test", json=asked | {"event_type": "x"}).get_json()["data"]
    assert tried["reason"] == 'type: "order.paid" does not match "x"'
    wrong = api.post(f"{SUBSCRIPTIONS}/test", json={"event": {"tip": 1}})
    assert list(wrong_fields(wrong)) == ["event.tip"]
