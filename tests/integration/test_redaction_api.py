"""Credentials in inputs and in the URLs of webhooks are shown to those who may write, and to their handler."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ava.delivery.fan_out import FanOut
from ava.domain.events.awaited import AwaitedEvent
from ava.domain.jobs.job import RunKey
from ava.domain.jobs.waits import EntryState, JournalKind, NewEntry
from ava.store.fleet import nodes
from ava.store.fleet.nodes import NodeSpec
from ava.store.jobs.transitions import claim
from harness.api import NODE, Api
from tests.graphs import JOBS, Graphs

INPUT: dict[str, Any] = {"url": "https://example.com", "headers": {"Authorization": "Bearer s3cret", "Accept": "*/*"}}
SCHEDULES = "/v1/ava/schedules"
SHOWN = {"url": "https://example.com", "headers": {"Authorization": "••••••", "Accept": "*/*"}}


def _as(role: str) -> dict[str, str | None]:
    return {"x-platform-role": role}


def _inputs(api: Api, job_id: str, role: str) -> list[Any]:
    """Returns the input of a final job in every answer that shows it."""
    one = api.get(f"/v1/ava/jobs/{job_id}", headers=_as(role)).get_json()["data"]["input"]
    waited = api.get(f"/v1/ava/jobs/{job_id}?wait=1", headers=_as(role)).get_json()["data"]["input"]
    (listed,) = api.get("/v1/ava/jobs", headers=_as(role)).get_json()["data"]
    stream = api.get(f"/v1/ava/jobs/{job_id}/stream", headers=_as(role)).get_data(as_text=True)
    ended = json.loads(stream.rpartition("event: end\ndata: ")[2])
    return [one, waited, listed["input"], ended["input"]]


def test_a_credential_in_an_input_is_hidden_below_tenant_admin_and_in_webhooks(api: Api) -> None:
    body = {"url": "https://example.com/", "events": ["ava.job.queued"], "secret": "of-the-tests-of-redaction"}
    assert api.post("/v1/webhooks", json=body).status_code == 201
    job = api.trigger(input=INPUT)
    assert job["input"] == INPUT
    api.post(f"/v1/ava/jobs/{job['id']}/cancel")
    for role, expected in (("tenant-user", SHOWN), ("tenant-admin", INPUT), ("platform-system-admin", INPUT)):
        assert _inputs(api, job["id"], role) == [expected] * 4
    assert FanOut(api.database).run_once() == 1
    ((sent_body,),) = api.execute("SELECT body FROM webhook_events")
    sent = json.loads(sent_body)["data"]
    assert sent["input"] == SHOWN
    assert list(sent) == list(job), "the record is whole"


def test_a_credential_in_the_pattern_of_an_awaited_event_is_hidden_below_tenant_admin(graphs: Graphs) -> None:
    job_id = graphs.api.trigger()["id"]
    run, claim_id = graphs.start(job_id)
    whole, shown = ({"data": {"password": value, "n": [7]}} for value in (["s3cret"], "••••••"))
    graphs.wait(run, claim_id, event=AwaitedEvent.of("order.paid", whole), seconds=60)
    for role, expected in (("tenant-user", shown), ("tenant-admin", whole), ("platform-system-admin", whole)):
        one = graphs.api.get(f"{JOBS}/{job_id}", headers=_as(role)).get_json()["data"]
        (listed,) = graphs.api.get(JOBS, headers=_as(role)).get_json()["data"]
        exported = json.loads(graphs.api.get(f"{JOBS}/export", headers=_as(role)).text)
        (of_tree,) = graphs.api.get(f"{JOBS}/{job_id}/tree", headers=_as(role)).get_json()["data"]["jobs"]
        for record in (one, listed, exported, of_tree):
            assert record["waiting_for"]["event"] == {"type": "order.paid", "match": expected}, role
            assert record["waiting_for"]["until"] is not None


def test_the_handler_and_a_retry_receive_the_true_input(api: Api) -> None:
    job = api.trigger(input=INPUT)
    api.post(f"/v1/ava/jobs/{job['id']}/cancel")
    again = api.post(f"/v1/ava/jobs/{job['id']}/retry").get_json()["data"]
    assert again["input"] == INPUT
    with api.database.connect() as connection:
        spec = NodeSpec(id=NODE, name="n", host="h", pid=1, version="1", queues=[], workers=[], processes=1)
        nodes.register(connection, spec)
        claimed = claim.claim(
            connection, claim.Claim(run=RunKey(again["tenant_id"], again["id"], 1), worker_id="wkr_open", node_id=NODE)
        )
    assert claimed is not None
    assert claimed.input == INPUT


RULE = {"input": INPUT, "match": {"data": {"password": ["s3cret"]}}}


@pytest.mark.parametrize(
    ("kind", "own", "rule"),
    [
        ("schedules", {"cron": "* * * * *", "timezone": "UTC"}, {"input": INPUT}),
        ("subscriptions", {"event_type": "a.b"}, RULE),
        ("hooks", {"name": "mine", "provider": "none"}, RULE),
    ],
)
def test_a_credential_in_what_starts_jobs_is_hidden_below_tenant_admin_and_stays(
    api: Api, kind: str, own: dict[str, Any], rule: dict[str, Any]
) -> None:
    made = api.post(f"/v1/ava/{kind}", json={"worker_id": "wkr_open", **own, **rule}).get_json()["data"]
    path, shown_rule = f"/v1/ava/{kind}/{made['id']}", {"input": SHOWN, "match": {"data": {"password": "••••••"}}}
    for role, expected in (("tenant-user", shown_rule), ("tenant-admin", rule), ("platform-system-admin", rule)):
        shown = api.get(path, headers=_as(role)).get_json()["data"]
        (listed,) = api.get(f"/v1/ava/{kind}", headers=_as(role)).get_json()["data"]
        for record in (shown, listed):
            assert {name: record[name] for name in rule} == {name: expected[name] for name in rule}, role
    changed = api.request("PATCH", path, json={"priority": 6}).get_json()["data"]
    assert {name: changed[name] for name in rule} == rule
    if kind == "schedules":
        assert api.post(f"{path}/run").get_json()["data"]["input"] == INPUT


def test_a_credential_in_a_journal_is_hidden_below_tenant_admin(graphs: Graphs) -> None:
    job_id = graphs.api.trigger()["id"]
    run, claim_id = graphs.start(job_id)
    event = AwaitedEvent.of("order.paid", {"data": {"password": ["s3cret"]}})
    graphs.journal(
        run,
        claim_id,
        NewEntry(kind=JournalKind.STEP, name="login", state=EntryState.DONE, value_json=json.dumps(INPUT)),
        NewEntry(kind=JournalKind.EVENT, name="order.paid", state=EntryState.WAITS, value_json=event.json),
    )
    hidden = {"type": "order.paid", "match": {"data": {"password": "••••••"}}}
    for role, expected in (("tenant-user", [SHOWN, hidden]), ("tenant-admin", [INPUT, event.shown])):
        journal = graphs.api.get(f"{JOBS}/{job_id}/journal", headers=_as(role)).get_json()["data"]
        assert [entry["value"] for entry in journal] == expected, role


def test_the_audit_trail_keeps_no_credential_of_a_changed_schedule(api: Api) -> None:
    body = {"worker_id": "wkr_open", "cron": "* * * * *", "timezone": "UTC", "input": INPUT}
    path = f"{SCHEDULES}/{api.post(SCHEDULES, json=body).get_json()['data']['id']}"
    other = {**INPUT, "headers": {**INPUT["headers"], "Authorization": "Bearer 0ther"}}
    for changed in (other, {"token": "s3cret"}):
        api.request("PATCH", path, json={"input": changed})
    entries = api.get("/v1/ava/audit?filter[action]=schedules.change").get_json()["data"]
    # That something has changed is kept, also if it is the credential alone.
    assert [entry["changes"] for entry in entries] == [
        {"input": [SHOWN, {"token": "••••••"}]},
        {"input": [SHOWN, SHOWN]},
    ]


def test_the_url_of_a_webhook_is_shown_without_path_and_query_below_tenant_admin(api: Api) -> None:
    url = "https://hooks.example.com:8443/T0/B0/s3cret?token=s3cret"
    body = {"url": url, "events": ["ava.job.queued"], "secret": "of-the-tests-of-redaction"}
    made = api.post("/v1/webhooks", json=body).get_json()["data"]
    assert made["url"] == url
    for role, expected in (("tenant-user", "https://hooks.example.com:8443"), ("tenant-admin", url)):
        shown = api.get(f"/v1/webhooks/{made['id']}", headers=_as(role)).get_json()["data"]
        (listed,) = api.get("/v1/webhooks", headers=_as(role)).get_json()["data"]
        assert [shown["url"], listed["url"]] == [expected] * 2
