"""Rows that fail even on their own: they become dead letters, stop no other row, and can be retried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ava.dispatcher.duties.probed_work import EventFanOut
from ava.dispatcher.duties.statistics import EndedJobs
from ava.dispatcher.duties.wakes import Wakes
from ava.domain import ids
from ava.domain.error_group import ErrorGroupUpdate
from ava.services.creation.job_creator import JobCreator
from ava.services.events.event_jobs import EventJobs
from ava.settings import Settings
from ava.store import dead_letters
from ava.store.engine.database import Connection
from ava.store.errors import counting
from ava.store.events import awaited
from ava.store.events.awaited import FoundEvent
from ava.store.jobs.transitions import wake
from chaos.faults.lost_commits import DEAD_LETTERS, ELSEWHERE
from harness.api import Api
from tests.integration.test_api_events import EVENTS, ORDER, SUBSCRIPTIONS
from tests.integration.test_errors import fail_jobs
from tests.integration.test_event_waits import Waiters
from tests.lost_commits import Bench, Scenario, Scenarios, name_of

_SCENARIOS = Scenarios()
_FAULTS = pytest.mark.parametrize("fault", [ValueError("no"), MemoryError(), None], ids=repr)


@pytest.fixture
def waiters(api: Api, api_settings: Settings) -> Waiters:
    return Waiters(api, api_settings)


def test_a_wake_that_ends_no_wait_and_fails_is_a_dead_letter(
    waiters: Waiters, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cancel_marked = wake.cancel_marked

    def cancel_or_fail(connection: Connection, woken: Sequence[tuple[str, str]]) -> Any:
        if any(uuid == bad for _, uuid in woken):
            raise ValueError("no")
        return cancel_marked(connection, woken)

    jobs = waiters.declare(a={}, b={"after": ["a"]}, c={}, d={"after": ["c"]})
    bad = str(ids.decode("job", jobs["a"]))
    with monkeypatch.context() as patch:
        patch.setattr(wake, "cancel_marked", cancel_or_fail)
        waiters.finish(jobs["a"])
        waiters.finish(jobs["c"])
        for _ in range(3):
            waiters.wake()
    assert waiters.startable(jobs) == {"b", "d"}
    assert waiters.api.execute("SELECT kind, row_id::text FROM dead_letters") == [("job_wake", bad)]
    assert waiters.api.execute("SELECT count(*) FROM wakes") == [(0,)]
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 1
    with waiters.api.database.connect() as connection:
        assert dead_letters.retry(connection) == 1
    waiters.wake()
    assert waiters.api.execute("SELECT count(*) FROM wakes") == [(0,)]


@_FAULTS
def test_an_event_whose_further_jobs_cannot_be_created_is_a_dead_letter_and_stops_no_other_tenant(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception | None
) -> None:
    """Without a fault in Python, PostgreSQL refuses a job."""
    tenants = ["ten_a", "ten_b", "ten_c"]
    for tenant in tenants:
        headers = {"x-tenant-id": tenant}
        for _ in range(101):
            fields = {"event_type": "order.paid", "worker_id": "wkr_open"}
            assert api.post(SUBSCRIPTIONS, json=fields, headers=headers).status_code == 201
        assert api.post(EVENTS, json=ORDER, headers=headers).status_code == 201
    create = JobCreator.create

    def create_or_fail(creator: JobCreator, connection: Any, new: Any) -> Any:
        if new[0].tenant_id != "ten_b":
            return create(creator, connection, new)
        if fault is None:
            return create(creator, connection, [replace(each, input_json="no JSON") for each in new])
        raise fault

    duty = EventFanOut(api.database, EventJobs(JobCreator()))
    with monkeypatch.context() as patch:
        patch.setattr(JobCreator, "create", create_or_fail)
        for _ in range(3):
            duty.run_once(0)
    counts = "SELECT tenant_id, count(*) FROM jobs GROUP BY 1 ORDER BY 1"
    assert api.execute(counts) == [("ten_a", 101), ("ten_b", 100), ("ten_c", 101)]
    assert api.execute("SELECT kind, tenant_id FROM dead_letters") == [("event_jobs", "ten_b")]
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 1
    with api.database.connect() as connection:
        assert dead_letters.retry(connection) == 1
    duty.run_once(0)
    assert dict(api.execute(counts))["ten_b"] == 101


@_FAULTS
def test_an_event_that_cannot_be_matched_is_a_dead_letter_and_stops_no_other(
    waiters: Waiters, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception | None
) -> None:
    """Without a fault in Python, PostgreSQL refuses the event's mark."""
    jobs = [waiters.waiting({"data": {"n": [n]}}) for n in range(3)]
    sent = waiters.send(*range(3))
    mark = awaited.mark

    def mark_or_fail(connection: Connection, tenant_id: str, found: Sequence[FoundEvent]) -> Any:
        if any(each.event_id == sent[1] for each in found):
            if fault is not None:
                raise fault
            connection.exec_driver_sql("SELECT 'no UUID'::uuid")
        return mark(connection, tenant_id, found)

    with monkeypatch.context() as patch:
        patch.setattr(awaited, "mark", mark_or_fail)
        for _ in range(3):
            waiters.wake()
    assert [waiters.continues(job_id) for job_id in jobs] == [True, False, True]
    found = waiters.api.execute("SELECT kind, row_id FROM dead_letters")
    assert [(kind, str(row_id)) for kind, row_id in found] == [("event_wake", str(ids.decode("evt", sent[1])))]
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 1
    with waiters.api.database.connect() as connection:
        assert dead_letters.retry(connection) == 1
    waiters.wake()
    assert waiters.continues(jobs[1])


@_FAULTS
def test_an_ended_job_that_cannot_be_grouped_is_counted_alone_and_reported_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception | None
) -> None:
    """Without a fault in Python, PostgreSQL refuses the group."""
    fail_jobs(api, "AError: x", "BError: x", "CError: x")
    store = counting.store

    def store_or_fail(connection: Connection, updates: Sequence[ErrorGroupUpdate], reopened: Sequence[str]) -> None:
        if any(update.kind == "BError" for update in updates):
            if fault is not None:
                raise fault
            connection.exec_driver_sql("SELECT 'no UUID'::uuid")
        store(connection, updates, reopened)

    monkeypatch.setattr(counting, "store", store_or_fail)
    duty = EndedJobs(api.database)
    for _ in range(3):
        duty.run_once(0)
    assert api.execute("SELECT kind FROM error_groups ORDER BY kind") == [("AError",), ("CError",)]
    assert api.execute("SELECT sum(jobs)::int FROM job_totals WHERE status = 'failed'") == [(3,)]
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 1


def _fail(*_: object, **__: object) -> None:
    raise ValueError


@_SCENARIOS.cuts("jobs.wake_queue.set_aside_events", "jobs.wake_queue.set_aside_job")
def _wakes_that_fail(bench: Bench) -> None:
    waiters = Waiters(bench.api, bench.settings)
    waiters.waiting()
    waiters.send(1)
    bench.api.execute("INSERT INTO wakes (tenant_id, kind, source_id) SELECT tenant_id, 'job', id FROM jobs")
    duty = Wakes(bench.database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(awaited, "mark", _fail)
        patch.setattr(wake, "decide", _fail)
        bench.repeat(lambda: duty.run_once(0))
    assert bench.only("SELECT count(*) FROM wakes") == 0
    found = dict(bench.api.execute("SELECT kind, count(*) FROM dead_letters GROUP BY 1"))
    assert found == {"event_wake": 1, "job_wake": 1}


@_SCENARIOS.cuts("events.events.set_aside")
def _event_whose_further_jobs_fail(bench: Bench) -> None:
    bench.api.execute(
        "INSERT INTO subscriptions (tenant_id, event_type, worker_id, priority, created_by)"
        " SELECT 'ten_test', 'order.paid', 'wkr_open', 5, 'usr_test' FROM generate_series(1, 102)"
    )
    body = {"event_type": "order.paid", "worker_id": "wkr_open"}
    assert bench.api.post("/v1/ava/subscriptions", json=body).status_code == 201
    assert bench.api.post("/v1/ava/events", json={"type": "order.paid", "data": 1}).status_code == 201
    creator = JobCreator()
    duty = EventFanOut(bench.database, EventJobs(creator))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(creator, "prepare", _fail)
        bench.repeat(lambda: duty.run_once(0))
    assert bench.api.execute("SELECT kind, continues_after IS NOT NULL FROM dead_letters") == [("event_jobs", True)]
    assert bench.only("SELECT count(*) FROM events WHERE fanned_out_to IS NOT NULL") == 0


@pytest.mark.parametrize("scenario", _SCENARIOS, ids=name_of)
def test_a_lost_response_makes_a_row_a_dead_letter_once(bench: Bench, scenario: Scenario) -> None:
    _SCENARIOS.run(scenario, bench)


def test_every_statement_has_a_scenario() -> None:
    assert set().union(*_SCENARIOS.values()) == {name for name, reason in ELSEWHERE.items() if reason is DEAD_LETTERS}
