"""What a tenant sets of a worker reaches its runs, and a secret reaches nothing else."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from chaos import leaks
from harness.polling import wait_until
from harness.system import System
from tests.acceptance.conftest import on_redis

SECRET = "marker-7f3a9c-of-the-test"
# What a tenant sets is in the database, whatever the broker.
pytestmark = on_redis
#: Jobs for each way to leak.
_EACH = 3


@pytest.fixture
def leaking(fleet: System) -> System:
    """The system of this file, in which the worker has its secret, whatever a test before has made of it."""
    body = {"secrets": {"TOKEN": SECRET}, "config": {"REGION": "eu"}}
    _patch(fleet, "wkr_t_leak", body)
    return fleet


def _patch(fleet: System, worker_id: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = fleet.request("PATCH", f"/v1/ava/workers/{worker_id}", json=body)
    assert answer.status_code == 200, answer.text
    record: dict[str, Any] = answer.json()["data"]
    return record


def test_a_secret_that_jobs_try_to_leak_is_nowhere(leaking: System) -> None:
    jobs = [{"worker_id": "wkr_t_leak", "input": {"how": how}} for how in leaks.WAYS for _ in range(_EACH)]
    made = leaking.post("/v1/ava/jobs/bulk", json={"jobs": jobs}).json()["data"]
    ended = [leaking.wait_for(job["id"], seconds=60) for job in made]
    assert [job["status"] for job in ended] == ["completed"] * _EACH + ["failed"] * 3 * _EACH
    returned, raised = ended[0], ended[_EACH]
    assert returned["output"]["••••••"][0] == "••••••"
    assert "TOKEN=••••••" in returned["output"]["••••••"][1]["deep"]
    assert returned["output"]["config"] == "eu"
    assert returned["progress"]["message"] == "with ••••••"
    assert raised["error"] == "ValueError: refused ••••••"
    messages = leaking.messages(returned["id"])
    assert "the token is •••••• in Secrets(TOKEN)" in messages
    assert messages.count("••••••") == 1, "printed in two parts"
    _assert_nowhere(leaking)
    # What a subprocess printed by itself reached the node's log, masked.
    assert "to the descriptor ••••••" in leaking.workers[0].output


def _assert_nowhere(fleet: System) -> None:
    found = leaks.places_of(fleet)
    assert len(found) > 10
    with redis.Redis.from_url(fleet.broker_url) as client:
        found["broker"] = str([client.dump(key) for key in client.keys("*")])
    assert {place for place, text in found.items() for form in leaks.forms(SECRET) if form in text} == set()


def test_a_node_that_cannot_open_a_secret_fails_the_job_and_says_so(leaking: System) -> None:
    leaking.query("""
        UPDATE worker_settings SET secrets = '{"TOKEN": "gAAAAABsealed-with-another-key"}'
        WHERE worker_id = 'wkr_t_leak'
    """)
    job = leaking.wait_for(leaking.trigger("wkr_t_leak")["id"])
    assert job["error"].startswith("SecretUnreadable: ")


def test_a_typed_handler_gets_its_type_and_a_tenants_configuration(fleet: System) -> None:
    refused = fleet.post("/v1/ava/jobs", json={"worker_id": "wkr_t_typed", "input": {"count": "x"}})
    assert set(refused.json()["error"]["fields"]) == {"input.customer", "input.count"}
    _patch(fleet, "wkr_t_typed", {"config": {"REGION": "us"}})
    job = fleet.wait_for(fleet.trigger("wkr_t_typed", input={"customer": "Ada"})["id"])
    assert job["output"] == "Ada: 1, us"


def test_a_tenants_timeout_ends_a_run(fleet: System) -> None:
    _patch(fleet, "wkr_t_work", {"timeout_seconds": 1})
    try:
        job = fleet.wait_for(fleet.trigger("wkr_t_work", input={"seconds": 20})["id"])
        assert job["error"] == "Timeout: exceeded 1 s"
    finally:
        _patch(fleet, "wkr_t_work", {"timeout_seconds": None})


def test_a_pause_holds_what_waits_within_seconds_and_a_resume_releases_it(fleet: System) -> None:
    busy = [fleet.trigger("wkr_t_work", input={"seconds": 100}, priority=1) for _ in range(4)]
    for job in busy:
        fleet.wait_for(job["id"], "running")
    waiting = [fleet.trigger("wkr_t_echo", priority=5) for _ in range(10)]
    _patch(fleet, "wkr_t_echo", {"status": "paused"})
    paused_at = time.monotonic()
    waiting.append(fleet.trigger("wkr_t_echo"))
    for job in busy:
        fleet.cancel(job["id"])
        fleet.wait_for(job["id"])
    wait_until(
        lambda: (
            fleet.query("SELECT count(*) FROM jobs WHERE worker_id = 'wkr_t_echo' AND waits_for = 'worker'") == [(11,)]
        ),
        what="every job of the paused worker is set aside",
    )
    assert time.monotonic() - paused_at < 10, "the promise is 2 s; the rest is for a busy machine"
    assert {fleet.show(job["id"])["status"] for job in waiting} == {"queued"}
    said = fleet.get(f"/v1/ava/jobs/{waiting[0]['id']}/why").json()["data"]["sentence"]
    assert said.startswith("queued: paused by usr_test since ")
    _patch(fleet, "wkr_t_echo", {"status": None})
    assert {fleet.wait_for(job["id"])["status"] for job in waiting} == {"completed"}


# Policies of a job ---------------------------------------------------------------------------------------------------


def test_a_thousand_jobs_that_expire_in_one_second_never_begin_and_are_cancelled(fleet: System) -> None:
    busy = [fleet.trigger("wkr_t_work", input={"seconds": 100}, priority=1) for _ in range(4)]
    for job in busy:
        fleet.wait_for(job["id"], "running")
    expires = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    jobs = [{"worker_id": "wkr_t_echo", "start_before": expires, "tags": {"batch": "expiring"}} for _ in range(1000)]
    made = fleet.post("/v1/ava/jobs/bulk", json={"jobs": jobs}).json()["data"]
    unfinished = "SELECT count(*) FROM jobs WHERE expires_at = %s AND completed_at IS NULL"
    wait_until(lambda: fleet.query(unfinished, expires) == [(0,)], what="every job that has expired is cancelled")
    ((count, slowest),) = fleet.query(
        "SELECT count(*), max(extract(epoch FROM completed_at - expires_at))::float8 FROM jobs"
        " WHERE error LIKE 'Expired: %%' AND cancelled_by IS NULL AND started_at IS NULL AND expires_at = %s",
        expires,
    )
    assert count == len(made)
    assert slowest < 10, "the promise is 2 s; the rest is for a busy machine"
    for job in busy:
        fleet.cancel(job["id"])
        fleet.wait_for(job["id"])
    # Their messages are dropped, and what comes after them runs.
    assert fleet.wait_for(fleet.trigger("wkr_t_echo", expires_in=60)["id"])["status"] == "completed"
    assert fleet.messages(made[0]["id"]) == []
