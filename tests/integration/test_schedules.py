"""Schedules against a real database: each firing time makes one job, whatever else happens at the same time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg2
import pytest

from ava.delivery.fan_out import FanOut
from ava.dispatcher.duties import retention
from ava.dispatcher.duties.schedules import fire_due_schedules, recompute_next_firings
from ava.domain.access.actor import SYSTEM
from ava.domain.counts import PageBounds
from ava.domain.schedules.schedule_record import CatchUp, Overlap, make_schedule_record
from ava.domain.worker import WorkerSettings, WorkerStatus
from ava.metrics import counters
from ava.services.creation.job_creator import JobCreator
from ava.services.creation.quotas import TenantQuotas
from ava.services.due_firings import DueFirings
from ava.settings import Settings
from ava.store.fleet import worker_settings
from ava.store.jobs.reads import lists
from ava.store.schedules import due as due_schedules
from ava.store.schedules import firings
from tests.backlog import WORKER, open_backlog
from tests.scheduled import CALLER, MINUTE, Scheduled


@pytest.fixture
def scheduled(database_settings: Settings) -> Iterator[Scheduled]:
    with open_backlog(database_settings) as backlog:
        yield Scheduled(backlog)


# Firing --------------------------------------------------------------------------------------------------------------


def test_a_firing_time_makes_one_job_that_any_dispatcher_feeds(scheduled: Scheduled) -> None:
    schedule = scheduled.create(input_json='{"a":1}', priority=2)
    assert scheduled.fire(0.5) == 0
    assert scheduled.fire(1) == 1
    assert scheduled.fire(1.9) == 0
    columns = "tenant_id, worker_id, trigger, priority, input, triggered_by, scheduled_at, run_at, published_at, queue"
    at = scheduled.now + MINUTE
    assert scheduled.jobs(columns) == [
        ("ten_test", WORKER, "scheduled", 2, {"a": 1}, schedule.id, at, None, None, "default")
    ]
    shown = scheduled.show(schedule)
    assert (shown.next_run_at, shown.last_run_at, shown.decided_until) == (at + MINUTE, at, at)
    assert shown.last_job_id is not None
    found, total = scheduled.service.firings(CALLER, schedule.id, bounds=PageBounds(limit=10))
    assert [(each.at, each.job_id) for each in found] == [(at, shown.last_job_id)]
    assert total == 1


def test_an_interval_fires_once_at_each_multiple_with_the_rules_of_overlap(scheduled: Scheduled) -> None:
    every = {"cron": None, "timezone": None, "every_seconds": 20}
    schedule, skips = scheduled.create(**every), scheduled.create(**every, overlap=Overlap.SKIP)
    # The database's clock may be anywhere in the first minute.
    assert scheduled.fire(1) >= 2
    assert [scheduled.fire(second / 60) for second in (70, 80, 81, 99, 100, 119, 120)] == [0, 2, 0, 0, 2, 0, 2]
    found, _ = scheduled.service.firings(CALLER, schedule.id, bounds=PageBounds(limit=3))
    assert [(each.at - scheduled.now).total_seconds() for each in found] == [120, 100, 80]
    outcomes = [outcome for outcome, _ in scheduled.outcomes(skips)]
    assert (outcomes[0], set(outcomes[1:])) == ("fired", {"skipped"})


def test_five_hundred_due_schedules_are_one_transaction_and_more_are_several(scheduled: Scheduled) -> None:
    for _ in range(3):
        scheduled.create()
    scheduled.backlog.run(
        "INSERT INTO schedules (tenant_id, worker_id, cron, timezone, input, priority, overlap, catch_up,"
        " catch_up_seconds, spread_seconds, decided_until, next_run_at, timezone_data, created_by)"
        " SELECT tenant_id, worker_id, cron, timezone, input, priority, overlap, catch_up,"
        " catch_up_seconds, spread_seconds, decided_until, next_run_at, timezone_data, created_by"
        " FROM schedules, generate_series(1, 399)"
    )
    assert scheduled.fire(1) == 1200
    assert scheduled.backlog.count("trigger = 'scheduled'") == 1200
    assert scheduled.backlog.run("SELECT count(DISTINCT xmin::text) FROM schedule_firings") == [(3,)]


def test_a_firing_beyond_the_tenants_queued_jobs_is_skipped_and_says_so(scheduled: Scheduled) -> None:
    schedule = scheduled.create(catch_up=CatchUp.ALL)
    creator = JobCreator(quota=TenantQuotas(queued_jobs=2))
    due = DueFirings(scheduled.backlog.database, scheduled.control, creator=creator)
    for _ in range(3):
        scheduled.now += MINUTE
        assert fire_due_schedules(scheduled.backlog.database, due, now=scheduled.now) == 1
    assert scheduled.backlog.count("trigger = 'scheduled'") == 2
    outcomes = scheduled.outcomes(schedule)
    assert [outcome for outcome, _ in outcomes] == ["fired", "fired", "skipped"]
    assert str(outcomes[2][1]).endswith("(limit tenant_queued_jobs)")


def test_several_dispatchers_at_once_fire_each_time_once(scheduled: Scheduled) -> None:
    schedules = [scheduled.create(catch_up=CatchUp.ALL) for _ in range(20)]
    start = threading.Barrier(4)

    def fire(_: int) -> int:
        start.wait()
        return sum(scheduled.fire(10) for _ in range(3))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(fire, range(4))) == 200
    assert scheduled.backlog.count("trigger = 'scheduled'") == 200
    for schedule in schedules:
        assert scheduled.outcomes(schedule) == [("fired", None)] * 10


@pytest.mark.parametrize("statement", ["write_firings", "advance"])
def test_a_dispatcher_that_dies_at_a_statement_has_done_nothing(
    scheduled: Scheduled, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = scheduled.create()

    class Died(BaseException):
        pass

    def then_die(act: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            act(*arguments, **named)
            raise Died

        return run

    with monkeypatch.context() as patched:
        patched.setattr(due_schedules, statement, then_die(getattr(due_schedules, statement)))
        with pytest.raises(Died):
            scheduled.fire(1)
    assert scheduled.jobs() == []
    assert scheduled.outcomes(schedule) == []
    assert scheduled.fire(1.1) == 1
    assert len(scheduled.jobs()) == 1


def test_a_worker_that_is_deprecated_while_its_schedule_is_decided_gets_no_job(
    scheduled: Scheduled, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = scheduled.create(overlap=Overlap.CANCEL_RUNNING)
    assert scheduled.fire(1) == 1
    found = due_schedules.reserve

    def reserve(*arguments: Any) -> list[str | None]:
        reserved = found(*arguments)
        worker = {"tenant_id": "ten_test", "worker_id": WORKER}
        with scheduled.backlog.database.transaction() as connection:
            worker_settings.lock(connection, **worker)
            settings = WorkerSettings(status=WorkerStatus.DEPRECATED)
            worker_settings.write(connection, settings, **worker)
        return reserved

    monkeypatch.setattr(due_schedules, "reserve", reserve)
    assert scheduled.fire(2) == 1
    assert [outcome for outcome, _ in scheduled.outcomes(running)] == ["fired", "skipped"]
    assert "deprecated" in str(scheduled.outcomes(running)[1][1])
    # The job that the new one would have replaced goes on.
    assert scheduled.jobs("status") == [("queued",)]


def test_a_firing_time_that_is_written_already_makes_no_second_job(scheduled: Scheduled) -> None:
    schedule = scheduled.create()
    assert scheduled.fire(1) == 1
    # As after a change of the time zone data by which a firing time that has fired comes again.
    scheduled.backlog.run(
        "UPDATE schedules SET decided_until = decided_until - interval '1 minute', next_run_at = now()"
    )
    assert scheduled.fire(1.5) == 0
    assert len(scheduled.jobs()) == 1
    assert scheduled.show(schedule).next_run_at == scheduled.now + 2 * MINUTE


def test_the_second_hour_of_an_overlap_has_firings_of_its_own(scheduled: Scheduled) -> None:
    schedule = scheduled.create(cron="*/30 * * * *", timezone="Europe/Berlin", catch_up=CatchUp.ALL)
    scheduled.backlog.run("UPDATE schedules SET decided_until = '2026-10-24 23:59Z', next_run_at = '2026-10-25 00:00Z'")
    scheduled.now = datetime(2026, 10, 25, 1, 59, tzinfo=UTC)
    scheduled.backlog.run("UPDATE schedules SET catch_up_seconds = 10000")
    assert scheduled.fire(0) == 4
    found, _ = scheduled.service.firings(CALLER, schedule.id, bounds=PageBounds(limit=10))
    times = [(each.local_time, each.at.hour) for each in reversed(found)]
    assert [(local.hour, local.minute, local.fold, hour) for local, hour in times] == [
        (2, 0, 0, 0), (2, 30, 0, 0), (2, 0, 1, 1), (2, 30, 1, 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"cron": "0 4 1 1 *"},
        {"timezone": "Asia/Kathmandu"},
        {"enabled": False},
        {"ends_at": datetime(9000, 1, 1, tzinfo=UTC)},
    ],
)
def test_a_change_decides_the_firing_times_that_are_past_before_it_computes_the_next(
    scheduled: Scheduled, changes: dict[str, Any]
) -> None:
    schedule = scheduled.create(catch_up=CatchUp.ALL, input_json='{"a":1}')
    scheduled.backlog.run(
        "UPDATE schedules SET decided_until = date_trunc('minute', now()) - interval '3 min', next_run_at = now()"
    )
    changed = scheduled.service.change(CALLER, schedule.id, {**changes, "input_json": '{"a":2}'})
    outcomes = scheduled.outcomes(schedule)
    assert set(outcomes) == {("fired", None)}
    assert len(outcomes) in (3, 4), "a minute may have begun meanwhile"
    assert set(scheduled.backlog.run("SELECT input->>'a' FROM jobs")) == {("1",)}
    assert changed.last_job_id is not None
    if changes == {"enabled": False}:
        assert changed.next_run_at is None


def test_a_change_that_waited_for_a_dispatcher_does_not_take_its_decision_back(scheduled: Scheduled) -> None:
    schedule = scheduled.create()
    scheduled.fire(1)
    decided = scheduled.show(schedule).decided_until
    changed = scheduled.service.change(CALLER, schedule.id, {"timezone": "Etc/UTC"})
    assert changed.next_run_at == decided + MINUTE


def test_a_change_disables_no_schedule_whose_worker_is_gone(scheduled: Scheduled) -> None:
    schedule = scheduled.create(worker_id=WORKER)
    scheduled.backlog.run("DELETE FROM workers")
    scheduled.backlog.run(
        "UPDATE schedules SET gone = 2, decided_until = now() - interval '1 min', next_run_at = now()"
    )
    changed = scheduled.service.change(CALLER, schedule.id, {"timezone": "Etc/UTC"})
    assert changed.enabled
    assert [outcome for outcome, _ in scheduled.outcomes(schedule)] == ["skipped"]


def test_moving_to_another_zone_does_not_meet_the_firing_times_of_the_old_one(scheduled: Scheduled) -> None:
    schedule = scheduled.create(cron="*/5 * * * *")
    scheduled.fire(5)
    fired = len(scheduled.jobs())
    assert fired == 1
    # The same local times come again an hour later, in a zone an hour to the west.
    scheduled.service.change(CALLER, schedule.id, {"timezone": "Atlantic/Azores", "catch_up": CatchUp.ALL})
    scheduled.fire(80)
    assert {outcome for outcome, _ in scheduled.outcomes(schedule)} == {"fired", "missed"}
    assert len(scheduled.jobs()) >= fired + 10


def test_firings_are_counted_by_outcome_and_by_how_late_they_are(scheduled: Scheduled) -> None:
    def read(name: str) -> float:
        lines = [line for line in counters.expose().decode().splitlines() if line.startswith(f"{name} ")]
        return float(lines[0].split()[1]) if lines else 0.0

    names = (
        'ava_schedule_firings_total{outcome="fired"}',
        'ava_schedule_firings_total{outcome="missed"}',
        "ava_schedule_lag_seconds_count",
        "ava_schedule_lag_seconds_sum",
    )
    scheduled.create()
    before = [read(name) for name in names]
    scheduled.fire(3.5)
    assert [read(name) - was for name, was in zip(names, before, strict=True)] == [1, 2, 1, pytest.approx(30)]


def test_a_locked_schedule_delays_no_other(scheduled: Scheduled) -> None:
    locked, _other = scheduled.create(), scheduled.create()
    connection = psycopg2.connect(scheduled.backlog.settings.database_url)
    try:
        connection.cursor().execute(
            "SELECT FROM schedules WHERE created_at = (SELECT min(created_at) FROM schedules) FOR UPDATE"
        )
        assert scheduled.fire(1) == 1
        assert scheduled.outcomes(locked) == []
        # PostgreSQL may release the locks of a session later than the client closes it.
        connection.rollback()
    finally:
        connection.close()
    assert scheduled.fire(1) == 1


def test_a_schedule_that_cannot_be_decided_blocks_no_other(
    scheduled: Scheduled, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = scheduled.create(), scheduled.create()
    scheduled.backlog.run("UPDATE schedules SET timezone = 'Mars/Base' WHERE created_at = (SELECT min(created_at) FROM"
                          " schedules)")  # fmt: skip
    assert scheduled.fire(1) == 1
    assert scheduled.outcomes(sound) == [("fired", None)]
    assert "Schedule could not be fired, will retry later" in caplog.text
    assert scheduled.show(broken).next_run_at == scheduled.now + 6 * MINUTE


def test_idle_schedules_are_not_read(scheduled: Scheduled) -> None:
    scheduled.create(cron="0 0 1 1 *")
    scheduled.backlog.run(
        "INSERT INTO schedules (tenant_id, worker_id, cron, timezone, input, priority, overlap, catch_up,"
        " catch_up_seconds, spread_seconds, decided_until, next_run_at, timezone_data, created_by)"
        " SELECT 'ten_' || n, worker_id, cron, timezone, input, priority, overlap, catch_up,"
        " catch_up_seconds, spread_seconds, decided_until, next_run_at, timezone_data, created_by"
        " FROM schedules, generate_series(1, 5000) AS n"
    )
    scheduled.backlog.run("ANALYZE schedules")
    version = scheduled.backlog.run("SELECT min(timezone_data) FROM schedules")[0][0]
    for statement, parameters in (
        (due_schedules._ARE_DUE, {"now": None}),
        (due_schedules._LOCK_DUE, {"now": None, "limit": 500}),
        (due_schedules._CLAIM_OUTDATED, {"version": version, "limit": 500}),
    ):
        plan = "\n".join(row[0] for row in scheduled.backlog.run(f"EXPLAIN {statement}", **parameters))
        assert "Seq Scan on schedules" not in plan, plan


# The worker, the zone, retention --------------------------------------------------------------------------------------


def test_a_schedule_whose_worker_is_gone_is_disabled_after_three_firings(scheduled: Scheduled) -> None:
    schedule = scheduled.create()
    scheduled.backlog.run("UPDATE workers SET tenants = '{ten_other}'")
    for minute in (1, 2, 3, 4):
        scheduled.fire(minute)
    assert scheduled.outcomes(schedule) == [("skipped", f"worker {WORKER} is gone")] * 3
    shown = scheduled.show(schedule)
    assert (shown.enabled, shown.next_run_at) == (False, None)
    assert shown.paused is not None
    reason = f"worker {WORKER} was missing at 3 firings in a row"
    assert (shown.paused.by, shown.paused.reason) == (SYSTEM, reason)
    # Enabling it begins a new count.
    scheduled.service.change(CALLER, schedule.id, {"enabled": True})
    scheduled.fire(5)
    shown = scheduled.show(schedule)
    assert (shown.enabled, shown.paused) == (True, None)


def test_a_disabled_schedule_is_an_event_for_those_who_subscribe(scheduled: Scheduled) -> None:
    scheduled.backlog.run(
        "INSERT INTO webhook_endpoints (tenant_id, url, events, secret)"
        " VALUES ('ten_test', 'https://example.com', '{ava.schedule.disabled}', 'sealed'),"
        " ('ten_other', 'https://example.com', '{ava.schedule.disabled}', 'sealed')"
    )
    scheduled.backlog.run(
        "INSERT INTO webhook_lanes (tenant_id, endpoint_id) SELECT tenant_id, id FROM webhook_endpoints"
    )
    schedule = scheduled.create(worker_id=WORKER, name="Nightly", input_json='{"token":"s3cret"}')
    scheduled.backlog.run("UPDATE workers SET tenants = '{ten_other}'")
    for minute in (1, 2, 3):
        scheduled.fire(minute)
    assert FanOut(scheduled.backlog.database).run_once() == 1
    [(body, tenant)] = scheduled.backlog.run(
        "SELECT e.body, p.tenant_id FROM webhook_deliveries AS d JOIN webhook_events AS e ON e.id = d.event_id"
        " JOIN webhook_endpoints AS p ON p.id = d.endpoint_id"
    )
    event = json.loads(body)
    shown = make_schedule_record(scheduled.show(schedule))
    assert (event["type"], event["tenant_id"], tenant) == ("ava.schedule.disabled", "ten_test", "ten_test")
    hidden = {"token": "••••••"}
    assert event["data"] == {**shown, "input": hidden, "reason": f"worker {WORKER} was missing at 3 firings in a row"}
    assert event["data"]["enabled"] is False
    assert event["data"]["paused"]["by"] == {"id": None, "kind": "system", "via": None, "label": None}


def test_a_new_version_of_the_time_zone_data_computes_every_next_firing_anew(scheduled: Scheduled) -> None:
    created = scheduled.create(cron="0 12 * * *", timezone="Europe/Berlin")
    scheduled.create(enabled=False)
    scheduled.backlog.run("UPDATE schedules SET next_run_at = next_run_at + interval '1 hour' WHERE paused_at IS NULL")
    database = scheduled.backlog.database
    assert recompute_next_firings(database) == 0
    scheduled.backlog.run("UPDATE schedules SET timezone_data = '2001a'")
    assert recompute_next_firings(database) == 1
    assert scheduled.show(created).next_run_at == created.next_run_at
    assert recompute_next_firings(database) == 0


def test_old_firings_are_deleted_and_later_ones_are_kept(scheduled: Scheduled) -> None:
    schedule = scheduled.create(catch_up=CatchUp.ALL)
    scheduled.fire(3)
    scheduled.backlog.run("UPDATE schedule_firings SET at = at - interval '31 days' WHERE slot < %(slot)s",
                          slot=(scheduled.now + 3 * MINUTE).replace(tzinfo=None))  # fmt: skip
    database = scheduled.backlog.database
    retention.of_jobs(database, retention_days=30, audit_days=90, silent_nodes=list).run_once(0)
    assert len(scheduled.outcomes(schedule)) == 1


def test_a_job_of_a_schedule_is_found_by_its_firing_alone(scheduled: Scheduled) -> None:
    schedule = scheduled.create()
    scheduled.fire(1)
    [retried] = scheduled.backlog.insert(1)
    with scheduled.backlog.database.connect() as connection:
        job = lists.show(connection, tenant_id="ten_test", job_id=str(scheduled.show(schedule).last_job_id))
        assert job is not None
        found = firings.firing_of(connection, job)
        assert found is not None
        assert (found.timezone, found.local_time) == ("UTC", (scheduled.now + MINUTE).replace(tzinfo=None))
        assert firings.firing_of(connection, retried) is None
