"""Pause and resume, in one form for every resource that can be paused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ava.domain.limits.table import PAUSE_REASON
from harness.api import NODE, Api, error_of

OPERATOR = {"x-platform-role": "platform-admin"}


def _node(api: Api) -> str:
    api.execute(
        "INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes)"
        " VALUES (%s, 'ava@host', 'h', 1, '0', '{default}', '{wkr_open}', 2)",
        NODE,
    )
    (node,) = api.get("/v1/ava/nodes").get_json()["data"]
    return str(node["id"])


def _created(path: str, **body: Any) -> Callable[[Api], str]:
    return lambda api: str(api.post(path, json=body).get_json()["data"]["id"])


#: What makes a record of each resource and returns its id.
_MADE: dict[str, Callable[[Api], str]] = {
    "queues": lambda _: "default",
    "nodes": _node,
    "schedules": _created("/v1/ava/schedules", worker_id="wkr_open", cron="0 3 * * *", timezone="UTC"),
    "workers": lambda _: "wkr_open",
    "hooks": _created("/v1/ava/hooks", name="mine", provider="none"),
    "subscriptions": _created("/v1/ava/subscriptions", event_type="order.paid", worker_id="wkr_open"),
    "webhooks": _created("/v1/webhooks", url="https://example.com/", events=["ava.job.failed"], secret="s" * 24),
}


class Record:
    """A record that can be paused."""

    def __init__(self, api: Api, resource: str) -> None:
        self.api = api
        self.resource = resource
        self.list_path = "/v1/webhooks" if resource == "webhooks" else f"/v1/ava/{resource}"
        self.id = _MADE[resource](api)
        self.path = f"{self.list_path}/{self.id}"

    def call(self, verb: str, reason: Any = None, **headers: str) -> dict[str, Any]:
        """Pause or resume it as an operator. Returns the record."""
        body = None if reason is None else {"reason": reason}
        response = self.api.post(f"{self.path}/{verb}", json=body, headers=OPERATOR | headers)
        assert response.status_code == 200, response.text
        data: dict[str, Any] = response.get_json()["data"]
        return data

    def listed(self, headers: dict[str, str], **query: str) -> list[Any]:
        """Returns the pause of each entry of the list that is this record."""
        data = self.api.get(self.list_path, headers=headers, query_string=query).get_json()["data"]
        found = data["queues"] if self.resource == "queues" else data
        return [each["paused"] for each in found if each.get("id", each.get("queue")) == self.id]


@pytest.fixture(params=_MADE)
def record(api: Api, request: pytest.FixtureRequest) -> Record:
    return Record(api, request.param)


def test_a_second_pause_or_resume_changes_nothing(record: Record) -> None:
    paused = record.call("pause", "moving")
    pause = dict(paused["paused"])
    assert pause.pop("at").startswith("2")
    assert pause == {"by": {"id": "usr_test", "kind": "user", "via": "headers", "label": None}, "reason": "moving"}
    assert record.call("pause", "another", **{"x-user-id": "usr_other"}) == paused
    assert record.listed(OPERATOR) == [paused["paused"]]
    resumed = record.call("resume")
    assert resumed["paused"] is None
    assert record.call("resume") == resumed
    assert record.call("pause")["paused"]["reason"] is None
    for verb, changes in (
        ("pause", [{"paused": [False, True]}, None, {"paused": [False, True], "reason": [None, "moving"]}]),
        ("resume", [None, {"paused": [True, False]}]),
    ):
        action = {"filter[action]": f"{record.resource}.{verb}"}
        trail = record.api.get("/v1/ava/audit", query_string=action).get_json()["data"]
        assert [(entry["target"], entry["changes"]) for entry in trail] == [(record.id, each) for each in changes]


def test_the_roles_of_a_tenant_do_not_see_the_operator_who_paused_it(record: Record) -> None:
    record.call("pause", "moving")
    for role in ("tenant-user", "tenant-system-admin"):
        (pause,) = record.listed({"x-platform-role": role})
        assert (pause["by"], pause["reason"]) == (None, "moving")


def test_a_list_has_only_what_is_paused_or_only_the_rest(record: Record) -> None:
    for is_paused in (False, True):
        counts = [len(record.listed(OPERATOR, **{"filter[paused]": value})) for value in ("false", "true")]
        assert counts == [not is_paused, is_paused]
        record.call("pause")


@pytest.mark.parametrize("reason", ["", "x" * (PAUSE_REASON.value + 1)], ids=repr)
def test_a_reason_is_a_string_of_bounded_length(record: Record, reason: Any) -> None:
    refused = record.api.post(f"{record.path}/pause", headers=OPERATOR, json={"reason": reason})
    error_of(refused, 422, "validation_error")
    assert "(limit pause_reason)" in refused.get_json()["error"]["fields"]["reason"][0]
    assert record.listed(OPERATOR) == [None]


def test_a_reason_of_hostile_characters_survives(record: Record) -> None:
    reason = "\u202e\x1b[2J é" + "🙂" * (PAUSE_REASON.value - 7)
    assert record.call("pause", reason)["paused"]["reason"] == reason
