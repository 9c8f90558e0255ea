"""A handler in a real process: its input, its log, its ends and its losses, and what a tenant sets of it."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from chaos import leaks
from harness.polling import wait_until
from harness.system import System
from tests.acceptance.conftest import on_redis

# What becomes of a run is in the database; `test_taken_ahead` and `test_pools` prove turns and losses on RabbitMQ too.
pytestmark = on_redis


def run(fleet: System, worker_id: str, **payload: Any) -> tuple[dict[str, Any], list[str]]:
    """Run a job to its end. Returns its record and the messages of its log."""
    job = fleet.trigger(worker_id, input=payload)
    return fleet.wait_for(job["id"], seconds=60), fleet.messages(job["id"])


def test_a_handler_gets_its_input_and_its_output_is_kept(fleet: System) -> None:
    payload = {"text": "Grüße, \u0000 \ud800 \U0001f600", "number": 1.5, "list": [None, True, {}]}
    record, messages = run(fleet, "wkr_t_echo", **payload)
    assert (record["status"], record["output"]) == ("completed", payload)
    assert record["duration_ms"] >= 0
    assert record["attempt"] == record["max_attempts"] == 1
    assert messages[0] == "Worker handler started"
    assert messages[-1].startswith("Handler completed in ")


def test_what_a_handler_logs_or_prints_is_in_its_log_while_it_runs(fleet: System) -> None:
    job = fleet.trigger("wkr_t_talk", input={"seconds": 5})
    fleet.wait_for(job["id"], "running")
    wait_until(lambda: len(fleet.logs(job["id"])) >= 7)
    # The lines are dated when they are logged, by the database's clock.
    ((age,),) = fleet.query("SELECT extract(epoch FROM clock_timestamp() - max(ts))::float FROM job_lines")
    record = fleet.show(job["id"])
    assert (record["status"], record["progress"]) == ("running", {"fraction": 0.5, "message": "half"})
    assert age <= 2, "the promise is 0.5 s; the rest is for a busy machine"
    lines = [(line["level"], line["msg"]) for line in fleet.logs(job["id"])]
    assert lines[1:6] == [
        ("info", "by env.log, 1"),
        ("warn", "by logging"),
        *[it for it in lines if it[1].startswith("UserWarning: by warnings (handlers.py:")],
        ("info", "by print"),
        ("warn", "to stderr"),
    ]
    assert lines[6][0] == "error"
    assert lines[6][1].startswith("with a traceback\nTraceback ")
    fleet.cancel(job["id"])
    assert fleet.wait_for(job["id"])["status"] == "cancelled"
    assert "no end of line" in fleet.messages(job["id"])


def test_a_failed_attempt_is_repeated_after_a_back_off(fleet: System) -> None:
    record, messages = run(fleet, "wkr_t_fails", succeeds_at=3)
    assert (record["status"], record["attempt"], record["output"]) == ("completed", 3, {"attempt": 3})
    assert [it.split(" ")[1] for it in messages if it.startswith("Handler ")] == ["failed", "failed", "completed"]
    assert messages.count("Worker handler started") == 3
    lines = fleet.logs(record["id"])
    starts = [datetime.fromisoformat(it["ts"]).timestamp() for it in lines if it["msg"] == "Worker handler started"]
    assert starts[1] - starts[0] >= 0.8
    assert starts[2] - starts[1] >= 1.6


def test_a_job_fails_with_the_error_of_its_last_attempt(fleet: System) -> None:
    record, messages = run(fleet, "wkr_t_fails")
    assert (record["status"], record["attempt"]) == ("failed", 3)
    assert record["error"] == "ValueError: attempt 3 went wrong"
    assert any("raise ValueError" in message and "ava/node" not in message for message in messages)
    # The line of each attempt in its node's log says why as well, whether another attempt follows or not.
    pattern = re.compile(r"Attempt of wkr_t_fails ended: .* ms: (.*) \(job_id=" + record["id"])
    reasons = wait_until(
        lambda: len(found := pattern.findall("".join(node.output for node in fleet.workers))) == 3 and found,
        what="the nodes log the attempts",
    )
    assert sorted(reasons) == [f"ValueError: attempt {attempt} went wrong" for attempt in (1, 2, 3)]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("unpicklable", "Unpicklable: a lock and nothing"),
        ("unspeakable", "Unspeakable: (its message cannot be shown)"),
        ("exit", "SystemExit: the handler called sys.exit(3)"),
        ("interrupt", "KeyboardInterrupt: (no message)"),
        ("breakpoint", "RuntimeError: a node has no terminal for a debugger; call the handler with ava.testing.run"),
        ("set_trace", "RuntimeError: a node has no terminal for a debugger; call the handler with ava.testing.run"),
        ("recursion", "RecursionError: maximum recursion depth exceeded"),
        ("raise_cancelled", "JobCancelled: "),
        # What else JSON cannot represent: tests/unit/test_outcome.py.
        ("bytes", "OutputError: output.rows[1].body is of type bytes, which JSON cannot represent"),
    ],
)
def test_a_bad_end_is_a_failure_with_an_error(fleet: System, how: str, error: str) -> None:
    record, messages = run(fleet, "wkr_t_bad_end", how=how)
    assert record["status"] == "failed"
    assert record["error"].startswith(error)
    assert messages[-1].startswith("Handler failed after ")


@pytest.mark.parametrize("how", ["hard_exit", "kill"])
def test_a_process_that_dies_is_a_loss_and_after_two_more_a_failure(fleet: System, how: str) -> None:
    record, messages = run(fleet, "wkr_t_bad_end", how=how)
    cause = {"hard_exit": "exitcode 3", "kill": "signal 9 (SIGKILL)"}[how]
    assert (record["status"], record["attempt"]) == ("failed", 1)
    assert record["error"].startswith(f"WorkerLost: the worker process died ({cause.split(' (')[0]}")
    assert messages.count("Worker handler started") == 3
    assert sum(message.startswith("Handler lost: ") for message in messages) == 3


def test_a_handler_that_forks_is_still_one_handler(fleet: System) -> None:
    record, messages = run(fleet, "wkr_t_bad_end", how="fork")
    assert record["status"] == "completed"
    assert sum(message.startswith("Handler completed") for message in messages) == 1


def test_processes_in_the_background_are_reaped_after_the_run_and_exit_codes_are_kept_until_then(fleet: System) -> None:
    for _ in range(4):
        record, _ = run(fleet, "wkr_t_background", count=12)
        assert record["output"] == {"before": 0, "exit_code": 7}, record


def test_a_node_announces_its_workers(fleet: System) -> None:
    worker = fleet.get("/v1/ava/workers/wkr_t_fails").json()["data"]
    assert (worker["max_retries"], worker["status"], worker["runtime"]) == (2, "active", "python")
    # It logs them too, by module.
    assert re.search(r"Handler module tests\.acceptance\.handlers declares .*wkr_t_fails", fleet.workers[0].output)


def test_jobs_start_in_the_order_of_their_priority(fleet: System) -> None:
    blockers = [fleet.trigger("wkr_t_work", input={"seconds": 4}, priority=1) for _ in range(4)]
    for blocker in blockers:
        fleet.wait_for(blocker["id"], "running")
    priorities = [n * 7 % 10 + 1 for n in range(400)]
    response = fleet.post(
        "/v1/ava/jobs/bulk",
        json={"jobs": [{"worker_id": "wkr_t_echo", "priority": priority} for priority in priorities]},
    )
    assert response.status_code == 201, response.text
    ids = [record["id"] for record in response.json()["data"]]
    queued = "SELECT count(*) FROM jobs WHERE worker_id = 'wkr_t_echo' AND status = 'queued'"
    wait_until(lambda: fleet.query(queued) == [(0,)], seconds=60)
    started = [row[0] for row in fleet.query(
        "SELECT priority FROM jobs WHERE worker_id = 'wkr_t_echo' AND started_at IS NOT NULL AND priority <> 5"
        " OR id IN (SELECT id FROM jobs WHERE worker_id = 'wkr_t_echo' ORDER BY id DESC LIMIT 400)"
        " ORDER BY started_at"
    )][-400:]  # fmt: skip
    assert len(ids) == 400
    expected = sorted(priorities)
    # Neighbours may be swapped: four processes start jobs at once, and each may hold one more message.
    displaced = [n for n, (one, other) in enumerate(zip(started, expected, strict=True)) if abs(one - other) > 1]
    wrong = sum(one != other for one, other in zip(started, expected, strict=True))
    print(f"{wrong} of 400 jobs started out of order, {len(displaced)} by more than one step")  # noqa: T201 - a figure
    assert not displaced
    assert wrong <= 40


def test_a_message_delivered_several_times_runs_once(fleet: System) -> None:
    from ava.broker.celery_app import make_app
    from ava.broker.publisher import Publisher
    from ava.settings import load
    from ava.store.engine.database import Database
    from ava.store.jobs.reads import lists

    job = fleet.trigger("wkr_t_work", input={"seconds": 0.5})
    settings = load(fleet.environ)
    database, app = Database.of(settings, name="tests"), make_app(settings)
    publisher = Publisher(app, settings)
    try:
        with database.connect() as connection:
            stored = lists.show(connection, tenant_id="ten_test", job_id=job["id"])
        assert stored
        from dataclasses import replace

        publisher.publish([replace(stored, run_no=0)] * 5)
    finally:
        publisher.close()
        database.close()
        app.close()
    assert fleet.wait_for(job["id"])["status"] == "completed"
    # Each of the four processes has one of these, so none of the messages before them is left.
    last = [fleet.trigger("wkr_t_work", input={"seconds": 60}, priority=10) for _ in range(4)]
    for each in last:
        fleet.wait_for(each["id"], "running")
    assert fleet.messages(job["id"]).count("Worker handler started") == 1
    for each in last:
        fleet.cancel(each["id"])


# What a tenant sets of a worker reaches its runs, and a secret reaches nothing else ------------------------------

SECRET = "marker-7f3a9c-of-the-test"
#: Jobs for each way to leak.
_EACH = 3


@pytest.fixture
def leaking(fleet: System) -> System:
    """The system of this file, in which the worker has its secret, whatever a test before has made of it."""
    body = {"secrets": {"TOKEN": SECRET}, "config": {"REGION": "eu"}}
    _patch(fleet, "wkr_t_leak", body)
    return fleet


def _patch(fleet: System, worker_id: str, body: dict[str, Any]) -> dict[str, Any]:
    response = fleet.request("PATCH", f"/v1/ava/workers/{worker_id}", json=body)
    assert response.status_code == 200, response.text
    record: dict[str, Any] = response.json()["data"]
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
    found = leaks.stored_strings(fleet)
    assert len(found) > 10
    with redis.Redis.from_url(fleet.broker_url) as client:
        found["broker"] = str([client.dump(key) for key in client.keys("*")])
    assert {source for source, content in found.items() for form in leaks.forms(SECRET) if form in content} == set()


def test_a_node_that_cannot_open_a_secret_fails_the_job_and_says_so(leaking: System) -> None:
    leaking.query("""
        UPDATE worker_settings SET secrets = '{"TOKEN": "gAAAAABsealed-with-another-key"}'
        WHERE worker_id = 'wkr_t_leak'
    """)
    job = leaking.wait_for(leaking.trigger("wkr_t_leak")["id"])
    assert job["error"].startswith("SecretUnreadable: ")


def test_a_handlers_process_opens_the_memory_of_no_process_with_the_services_keys(fleet: System) -> None:
    sender = fleet.start_sender()
    wait_until(lambda: "Webhook sender started" in sender.output, what="the sender runs")
    assert fleet.api is not None
    living = [fleet.api, *fleet.dispatchers, sender]
    pids = [pid for each in living for pid in (each.pid, *(child.pid for child in each.children))]
    assert len(pids) >= 4
    record, _ = run(fleet, "wkr_t_open_memory", pids=pids)
    assert record["output"] == {"opened": []}
    # Its own memory it may open.
    record, _ = run(fleet, "wkr_t_open_memory", pids=["self"])
    assert record["output"] == {"opened": ["self"]}


def test_a_typed_handler_gets_its_type_and_a_tenants_configuration(fleet: System) -> None:
    refused = fleet.post("/v1/ava/jobs", json={"worker_id": "wkr_t_typed", "input": {"count": "x"}})
    assert set(refused.json()["error"]["fields"]) == {"input.customer", "input.count"}
    _patch(fleet, "wkr_t_typed", {"config": {"REGION": "us"}})
    job = fleet.wait_for(fleet.trigger("wkr_t_typed", input={"customer": "Ada"})["id"])
    assert job["output"] == "Ada: 1, us"


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
    assert fleet.wait_for(fleet.trigger("wkr_t_echo", expires_in_seconds=60)["id"])["status"] == "completed"
    assert fleet.messages(made[0]["id"]) == []
