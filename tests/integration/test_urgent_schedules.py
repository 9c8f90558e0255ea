"""Schedules of a tenant's roles are never more urgent than `AVA_TENANT_MOST_URGENT_PRIORITY`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from werkzeug.test import TestResponse

from ava.broker.celery_app import make_app
from ava.broker.control import Control
from ava.broker.publisher import Publisher
from ava.dispatcher import dispatcher_process
from ava.domain.declarations import Declaration, NodeDeclarations
from ava.domain.worker import DeclaredSchedule
from ava.settings import Settings
from ava.store.fleet import nodes
from ava.store.fleet.nodes import NodeSpec
from harness.api import NODE, Api, error_of, wrong_fields

SCHEDULES = "/v1/ava/schedules"
MINUTELY = {"worker_id": "wkr_open", "cron": "* * * * *", "timezone": "UTC"}
OPERATOR = {"x-platform-role": "platform-admin"}
TENANT = {"x-platform-role": "tenant-system-admin"}
REASON = "It must be from 3 to 10 for tenant roles. (limit most_urgent_priority)"


class Platform:
    """An API and a dispatcher whose tenants may ask for the priorities from 3 on."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self.api = api
        app = make_app(settings)
        duties = dispatcher_process.make_duties(settings, api.database, Publisher(app, settings), Control(app))
        self.duties = {duty.name: duty for duty in duties}

    def create(self, headers: Mapping[str, str | None], **fields: Any) -> str:
        """Create a schedule that must be accepted. Returns its id."""
        response = self.api.post(SCHEDULES, json={**MINUTELY, **fields}, headers=headers)
        assert response.status_code == 201, response.text
        return str(response.get_json()["data"]["id"])

    def create_before_the_limit(self, **fields: Any) -> str:
        """A role of a tenant creates a schedule while all priorities are allowed. Returns its id."""
        rules = self.api.app.extensions["ava"].jobs.rules
        rules.most_urgent = 1
        try:
            return self.create(TENANT, **fields)
        finally:
            rules.most_urgent = 3

    def change(self, schedule_id: str, headers: Mapping[str, str | None], **fields: Any) -> TestResponse:
        """Change a schedule. Returns the response."""
        return self.api.request("PATCH", f"{SCHEDULES}/{schedule_id}", json=fields, headers=headers)

    def fire(self, schedule_id: str, *, minutes: int = 1) -> list[int]:
        """Make the last slots of a schedule due, and fire them. Returns the priorities of its new jobs."""
        self.api.execute("DELETE FROM jobs")
        self.api.execute("DELETE FROM schedule_firings")
        self.api.execute(
            f"UPDATE schedules SET decided_until = now() - interval '{minutes} minutes', next_run_at = now()"
        )
        self.duties["schedules"].run_once(0)
        rows = self.api.execute("SELECT priority, triggered_by FROM jobs WHERE trigger = 'scheduled'")
        return [priority for priority, by in rows if by == schedule_id]


@pytest.fixture
def platform(api_settings: Settings) -> Iterator[Platform]:
    settings = replace(api_settings, tenant_most_urgent_priority=3)
    with Api.running(settings) as api:
        yield Platform(api, settings)


def test_a_role_of_a_tenant_creates_no_schedule_that_is_too_urgent(platform: Platform) -> None:
    response = platform.api.post(SCHEDULES, json={**MINUTELY, "priority": 2}, headers=TENANT)
    assert wrong_fields(response) == {"priority": [REASON]}
    assert platform.fire(platform.create(TENANT, priority=3)) == [3]
    assert platform.fire(platform.create(OPERATOR, priority=1)) == [1]


def test_a_role_of_a_tenant_changes_no_schedule_to_one_that_is_too_urgent(platform: Platform) -> None:
    schedule = platform.create(TENANT)
    error = error_of(platform.change(schedule, TENANT, priority=1), 422, "validation_error")
    assert error["fields"] == {"priority": [REASON]}
    assert platform.fire(schedule) == [5]
    assert platform.change(schedule, OPERATOR, priority=1).status_code == 200
    assert platform.fire(schedule) == [1]


def test_what_a_role_of_a_tenant_changes_of_an_urgent_schedule_is_urgent_no_more(platform: Platform) -> None:
    schedule = platform.create(OPERATOR, priority=1)
    # Pausing it, resuming it and its name do not decide what it runs.
    assert platform.change(schedule, TENANT, enabled=False).status_code == 200
    assert platform.change(schedule, TENANT, enabled=True, name="still urgent", priority=1).status_code == 200
    assert platform.fire(schedule) == [1]
    for fields in ({"input": {"a": 1}}, {"worker_id": "wkr_paused", "priority": 2}, {"cron": "*/2 * * * *"}):
        error = error_of(platform.change(schedule, TENANT, **fields), 422, "validation_error")
        assert error["fields"] == {"priority": [REASON]}
    assert platform.change(schedule, TENANT, input={"a": 1}, priority=4).status_code == 200
    assert platform.fire(schedule) == [4]


def test_a_schedule_from_before_the_limit_fires_within_it(platform: Platform) -> None:
    schedule = platform.create_before_the_limit(priority=1)
    assert platform.fire(schedule) == [3]
    # A name that the platform gives it makes it no schedule of the platform.
    assert platform.change(schedule, OPERATOR, name="old").status_code == 200
    assert platform.fire(schedule) == [3]


def test_missed_firings_that_are_caught_up_stay_within_the_limit(platform: Platform) -> None:
    schedule = platform.create_before_the_limit(priority=1, catch_up="all")
    assert set(fired := platform.fire(schedule, minutes=5)) == {3}
    assert len(fired) >= 5


def test_the_limit_of_the_tenant_itself_holds_for_schedules_of_the_platform_too(platform: Platform) -> None:
    path = "/v1/ava/tenants/ten_test/limits"
    assert platform.api.put(path, headers=OPERATOR, json={"most_urgent_priority": 4}).status_code == 200
    assert platform.fire(platform.create(OPERATOR, priority=1)) == [4]
    assert platform.fire(platform.create(TENANT, priority=3)) == [4]


def test_a_run_now_by_a_role_of_a_tenant_is_within_the_limit(platform: Platform) -> None:
    for schedule in (platform.create(OPERATOR, priority=1), platform.create_before_the_limit(priority=1)):
        for headers, expected in ((TENANT, 3), (OPERATOR, 1)):
            response = platform.api.post(f"{SCHEDULES}/{schedule}/run", headers=headers)
            assert (response.status_code, response.get_json()["data"]["priority"]) == (201, expected)


def test_a_declared_schedule_is_within_the_limit(api_settings: Settings) -> None:
    settings = replace(api_settings, tenant_most_urgent_priority=7)
    with Api.running(settings) as api:
        declared = Declaration("tasks", "wkr_open", DeclaredSchedule("* * * * *", "UTC", "ten_test"))
        spec = NodeSpec(
            id=NODE,
            name="n",
            host="h",
            pid=1,
            version="1",
            queues=["default"],
            workers=["wkr_open"],
            processes=1,
            declarations=NodeDeclarations(["tasks"], [declared]),
        )
        with api.database.connect() as connection:
            nodes.register(connection, spec)
        platform = Platform(api, settings)
        assert platform.duties["declared_schedules"].run_once(0) == 1
        (schedule,) = api.get(SCHEDULES).get_json()["data"]
        assert platform.fire(schedule["id"]) == [7]
        error_of(platform.change(schedule["id"], TENANT, priority=1), 422, "validation_error")


def test_retries_of_an_urgent_firing_keep_the_limit(platform: Platform) -> None:
    schedule = platform.create(OPERATOR, priority=1)
    assert platform.fire(schedule) == [1]
    (job,) = platform.api.get("/v1/ava/jobs").get_json()["data"]
    path = f"/v1/ava/jobs/{job['id']}"
    platform.api.post(f"{path}/cancel")
    assert platform.api.post(f"{path}/retry").get_json()["data"]["priority"] == 3
    error_of(platform.api.post(f"{path}/retry", json={"priority": 2}), 422, "validation_error")
    platform.api.post("/v1/ava/jobs/retry", json={"filter": {"status": "cancelled"}})
    retried = platform.api.get("/v1/ava/jobs").get_json()["data"]
    assert [each["priority"] for each in retried] == [3, 3, 1]
