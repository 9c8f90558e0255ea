"""Dispatcher and sender while responses of commits are lost: what they repeat has one effect.

Each scenario runs what the process runs, with the repetition that the process has.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from ava.broker.publisher import Publisher
from ava.delivery.fan_out import FanOut
from ava.delivery.sender import Sender
from ava.dispatcher.duties.containments import ContainmentProgress
from ava.dispatcher.duties.lost_messages import LostMessages
from ava.dispatcher.duties.notices import DueNotices
from ava.dispatcher.duties.probed_work import EventFanOut
from ava.dispatcher.duties.schedules import DeclaredSchedules, recompute_next_firings
from ava.dispatcher.duties.statistics import EndedJobs
from ava.dispatcher.duties.waiting_jobs import MovedWorkers, ParkedJobs, cancel_expired_jobs
from ava.dispatcher.duties.wakes import Wakes
from ava.dispatcher.feed.window import WindowFeed
from ava.domain.containment import ContainedScope, ContainmentSpec
from ava.domain.declarations import Declaration, NodeDeclarations
from ava.domain.jobs.bulk_operation import BulkKind
from ava.domain.jobs.job import RunKey
from ava.domain.jobs.job_filter import JobFilter
from ava.domain.limits.rates import Rate
from ava.domain.secrets.sealing import Sealer
from ava.domain.webhooks.webhook import EndpointHealth
from ava.domain.worker import DeclaredSchedule, WorkerLimits
from ava.errors import DatabaseUnavailable
from ava.services import bulk_batches
from ava.services.bulk_batches import BulkBatches
from ava.services.creation.job_creator import JobCreator
from ava.services.due_firings import DueFirings
from ava.services.events.awaiting_jobs import AwaitingJobs
from ava.services.events.event_jobs import EventJobs
from ava.services.signing import ContainmentSigner
from ava.settings import Settings
from ava.store.containments import records
from ava.store.engine.leader_lease import LeaderLease
from ava.store.fleet import nodes
from ava.store.fleet.nodes import NodeSpec
from ava.store.jobs import bulk_operations
from ava.store.jobs.transitions import contain, end
from ava.store.webhooks import endpoint_leases, notices
from chaos.faults.lost_commits import DUTIES, ELSEWHERE
from harness.api import Api
from tests import limited
from tests.backlog import NODE, WORKER
from tests.graphs import Graphs
from tests.integration.test_event_waits import Waiters
from tests.limited import LIMITED
from tests.lost_commits import Bench, Scenario, Scenarios, insist, name_of
from tests.runs import ended
from tests.scheduled import CALLER, Scheduled

_SCENARIOS = Scenarios()
_DECLARED = Declaration("tasks", WORKER, DeclaredSchedule("0 9 * * *", "UTC", "ten_test"))
_SPEC = NodeSpec(
    id=NODE, name="n", host="h", pid=1, version="1", queues=["default"], workers=[WORKER], processes=4,
    declarations=NodeDeclarations(["tasks"], [_DECLARED]),
)  # fmt: skip


@_SCENARIOS.cuts("jobs.wake_queue.advance_events", "events.awaited.forget_ended")
def _event_that_wakes_a_job(bench: Bench) -> None:
    waiters = Waiters(bench.api, bench.settings)
    waiting, other, cancelled = waiters.waiting(), waiters.waiting(), waiters.waiting()
    assert bench.api.post(f"/v1/ava/jobs/{cancelled}/cancel").status_code == 200
    (event_id,) = waiters.send(1)
    duty = Wakes(bench.database, awaiting_jobs=AwaitingJobs(max_waits=1))
    bench.repeat(lambda: duty.run_once(0))
    assert bench.only("SELECT count(*) FROM wakes") == 0
    # The wait of the cancelled job is deleted, and each of the others has the event.
    for job_id in (waiting, other):
        assert waiters.continues(job_id)
        (entry,) = waiters.load(*waiters.start(job_id)).entries
        assert entry.event_id == event_id
    assert waiters.count("job_journal") == 2


@_SCENARIOS.cuts("jobs.transitions.wake.fail_unresolved")
def _job_whose_input_cannot_be_resolved(bench: Bench) -> None:
    bench.subscribe("ava.job.failed")
    graphs = Graphs(bench.api, bench.settings)
    jobs = graphs.declare(a={}, b={"after": ["a"], "input": {"x": {"$output": "a"}}}, c={"after": ["b"]})
    run, claim_id = graphs.start(jobs["a"])
    with bench.api.database.connect() as connection:
        end.end(connection, ended(connection, run, claim_id=claim_id, output_json="1"))
    # Deeper than an input may be.
    bench.api.execute("UPDATE jobs SET output = %s::json WHERE status = 'completed'", "[" * 1500 + "]" * 1500)
    bench.repeat(lambda: Wakes(bench.database).run_once(0))
    assert bench.api.execute("SELECT status FROM jobs ORDER BY id") == [("completed",), ("failed",), ("cancelled",)]
    assert bench.only("SELECT count(*) FROM webhook_events WHERE type = 'ava.job.failed'") == 1


@_SCENARIOS.cuts("events.events.advance")
def _event_with_more_jobs_than_a_transaction_makes(bench: Bench) -> None:
    bench.api.execute(
        "INSERT INTO subscriptions (tenant_id, event_type, worker_id, priority, created_by)"
        " SELECT 'ten_test', 'order.paid', 'wkr_open', 5, 'usr_test' FROM generate_series(1, 102)"
    )
    # Only the API tells that the tenant has subscriptions.
    body = {"event_type": "order.paid", "worker_id": "wkr_open"}
    assert bench.api.post("/v1/ava/subscriptions", json=body).status_code == 201
    assert (
        bench.api.post("/v1/ava/events", json={"type": "order.paid", "data": 1}).get_json()["data"]["more_count"] == 3
    )
    duty = EventFanOut(bench.database, EventJobs(JobCreator()))
    bench.repeat(lambda: duty.run_once(0))
    assert bench.api.execute("SELECT count(*), count(DISTINCT triggered_by) FROM jobs") == [(103, 103)]
    assert bench.only("SELECT cardinality(job_ids) FROM events") == 103


@_SCENARIOS.cuts("jobs.transitions.permits.follow_limits", "jobs.transitions.recall.recall_moved")
def _worker_with_another_queue_and_limit(bench: Bench) -> None:
    bench.stored.insert(3, is_published=True)
    duty = MovedWorkers(bench.database)
    insist(lambda: duty.run_once(0))
    bench.stored.announce(WORKER, queue="elsewhere", limits=WorkerLimits(max_running=1))
    bench.repeat(lambda: duty.run_once(1))
    # It skips jobs that a late commit has locked, and looks for them once more.
    bench.repeat(lambda: duty.run_once(12))
    found = "queue = 'elsewhere' AND published_at IS NULL AND waits_for = 'permit' AND limit_key IS NOT NULL"
    assert bench.stored.count(found) == 3


@_SCENARIOS.cuts("jobs.transitions.cancel.expire")
def _expiry(bench: Bench) -> None:
    bench.subscribe("ava.job.cancelled")
    bench.stored.insert(3)
    bench.stored.run("UPDATE jobs SET expires_at = now() - interval '1 s'")
    bench.repeat(lambda: cancel_expired_jobs(bench.database))
    assert bench.stored.count("status = 'cancelled' AND error LIKE '%%not started by%%'") == 3
    assert bench.only("SELECT count(*) FROM webhook_events") == 3


@_SCENARIOS.cuts("jobs.transitions.park.return_parked")
def _parked_jobs_of_a_node_that_joins(bench: Bench) -> None:
    bench.stored.insert(3)
    bench.stored.run("UPDATE jobs SET waits_for = 'node'")
    bench.stored.join()
    duty = ParkedJobs(bench.database, node_dead_seconds=14)
    bench.repeat(lambda: duty.run_once(0))
    assert bench.stored.count("waits_for IS NULL") == 3


@_SCENARIOS.cuts("jobs.transitions.recall.recall_all")
def _broker_that_has_lost_everything(bench: Bench) -> None:
    bench.stored.insert(3, is_published=True)
    # The broker tells of its reset once.
    publisher = SimpleNamespace(was_reset=iter([True, *[False] * 9]).__next__)
    duty = LostMessages(bench.database, cast("Publisher", publisher), node_dead_seconds=14)
    insist(lambda: duty.run_once(0))
    bench.settle()
    assert bench.stored.count("published_at IS NULL") == 3
    assert WindowFeed(bench.api.database, bench.publisher, window=10, node_dead_seconds=14).run_once(0) == 3
    bench.stored.await_messages(3)


@_SCENARIOS.cuts("jobs.transitions.recall.recall_runs")
def _messages_of_a_queue_that_is_paused(bench: Bench) -> None:
    bench.stored.insert(3, is_published=True)
    paused = bench.api.post("/v1/ava/queues/default/pause", headers={"x-platform-role": "platform-admin"})
    assert paused.status_code == 200, paused.text
    feed = WindowFeed(bench.database, bench.publisher, window=10, node_dead_seconds=14)
    bench.repeat(lambda: feed.run_once(0))
    assert bench.stored.count("published_at IS NULL AND waits_for = 'queue'") == 3


@_SCENARIOS.cuts("jobs.feed.permit_waits.read_rates", "jobs.feed.permit_waits.write_rates")
def _rate(bench: Bench) -> None:
    stored = bench.stored
    stored.join(handlers=[LIMITED])
    limited.limit(stored, rate=Rate(jobs=1, seconds=3600.0))
    limited.insert(stored, 3)
    feed = WindowFeed(bench.database, bench.publisher, window=10, node_dead_seconds=14)
    bench.repeat(lambda: feed.run_once(0))
    assert stored.count("waits_for IS NULL") == 1
    # The next job waits for the start of this one, and for the rate. The clock goes back by an hour meanwhile.
    assert len(limited.claim_all(stored)) == 1
    hour = "interval '1 hour'"
    stored.run(f"UPDATE rate_states SET next_at = next_at + {hour}, written_at = clock_timestamp() + {hour}")
    bench.repeat(lambda: feed.run_once(0))
    assert ("jobs.feed.permit_waits.read_rates",) in bench.cuts.cut
    due = "next_at BETWEEN clock_timestamp() AND clock_timestamp() + interval '90 min'"
    assert bench.only(f"SELECT {due} AND written_at <= clock_timestamp() FROM rate_states")
    assert stored.count("status = 'queued' AND waits_for = 'permit'") == 2


@_SCENARIOS.cuts("reports.ended.move")
def _count_of_ended_jobs(bench: Bench) -> None:
    bench.subscribe("ava.error.opened")
    bench.stored.insert(3)
    bench.api.execute("UPDATE jobs SET status = 'failed', error = 'ValueError: no', completed_at = now()")
    for _ in range(2):
        bench.repeat(lambda: EndedJobs(bench.database).run_once(0))
    assert bench.only("SELECT sum(jobs) FROM job_totals") == 3
    assert bench.api.execute("SELECT g.status, d.jobs FROM error_groups AS g JOIN error_days AS d ON d.error_id = g.id")
    assert bench.only("SELECT jobs FROM error_days") == 3
    assert bench.only("SELECT count(*) FROM webhook_events WHERE type = 'ava.error.opened'") == 1


@_SCENARIOS.cuts("schedules.definitions.set_module")
def _declared_schedule(bench: Bench) -> None:
    with bench.api.database.connect() as connection:
        nodes.register(connection, _SPEC)
    duty = DeclaredSchedules(bench.database, DueFirings(bench.database, bench.control), node_dead_seconds=15)
    bench.repeat(lambda: duty.run_once(0))
    declared = "SELECT cron, handler_module FROM schedules"
    assert bench.api.execute(declared) == [("0 9 * * *", "tasks")]
    bench.api.execute("UPDATE schedules SET cron = '0 8 * * *'")
    bench.repeat(lambda: duty.run_once(0))
    assert bench.api.execute(declared) == [("0 9 * * *", "tasks")]


@_SCENARIOS.cuts("schedules.due.write_next_runs")
def _new_time_zone_data(bench: Bench) -> None:
    scheduled = Scheduled(bench.stored)
    created = scheduled.create(cron="0 12 * * *", timezone="Europe/Berlin")
    bench.stored.run("UPDATE schedules SET timezone_data = '2001a', next_run_at = next_run_at + interval '1 hour'")
    bench.repeat(lambda: recompute_next_firings(bench.database))
    assert scheduled.show(created).next_run_at == created.next_run_at
    assert recompute_next_firings(bench.api.database) == 0


@_SCENARIOS.cuts(
    "containments.records.advance",
    "containments.records.record_stops",
    "jobs.transitions.contain.hold",
    "jobs.transitions.contain.record_entered",
    "jobs.transitions.contain.release",
)
def _containment(bench: Bench) -> None:
    bench.stored.join()
    running, *_ = bench.stored.insert(3, is_published=True)
    assert bench.stored.claim(running) is not None
    spec = ContainmentSpec(scope=ContainedScope(tenant_id="ten_test"), reason="a test")
    with bench.api.database.transaction() as connection:
        made = records.create(connection, spec, by=CALLER.actor)
    bench.repeat(lambda: _record_entered(bench, RunKey(*running.key, 1)))
    duty = ContainmentProgress(bench.database, bench.control, ContainmentSigner(bench.database, bench.settings))
    for now in (0, 1, 2):
        bench.repeat(lambda now=now: duty.run_once(now))
    assert bench.api.execute("SELECT held_count, stopped_count FROM containments") == [(2, 1)]
    assert [bench.stored.count(each) for each in ("waits_for = 'contained'", "stop_status = 'cancelled'")] == [2, 1]
    with bench.api.database.transaction() as connection:
        records.end(connection, made, held_count=2, by=CALLER.actor)
    bench.repeat(lambda: duty.run_once(3))
    assert bench.stored.count("waits_for IS NULL AND status = 'queued'") == 2


def _record_entered(bench: Bench, run: RunKey) -> None:
    with bench.database.connect() as connection:
        contain.record_entered(connection, NODE, [run])


@_SCENARIOS.cuts("jobs.bulk_operations.postpone")
def _batch_whose_commit_lost_its_response(bench: Bench) -> None:
    bench.stored.insert(3)
    with bench.api.database.connect() as connection:
        bulk_operations.create(connection, CALLER, kind=BulkKind.CANCEL, job_filter=JobFilter(), total=3, request_id="")
    batches = BulkBatches(bench.database, bench.cut_api.app.extensions["ava"].jobs, bench.control)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bulk_batches, "BATCH", 2)
        while bench.only("SELECT state FROM bulk_operations") == "running":
            bench.repeat(batches.run_next)
            bench.api.execute("UPDATE bulk_operations SET next_at = now()")
    assert bench.api.execute("SELECT total, done, failed FROM bulk_operations") == [(3, 3, 0)]
    assert bench.stored.count("status = 'cancelled'") == 3
    assert bench.only("SELECT count(*) FROM audit WHERE action = 'operations.done'") == 1


@_SCENARIOS.cuts("engine.leader_lease.free")
def _dispatcher_that_ends(bench: Bench) -> None:
    ending, other = LeaderLease(bench.settings), LeaderLease(bench.stored.settings)
    bench.cuts.is_cutting = False
    assert ending.acquire()
    bench.cuts.is_cutting = True
    ending.release()
    bench.settle()
    assert not ending.may_act()
    assert other.acquire(), "at once, because the lease is free"
    other.release()


@_SCENARIOS.cuts("webhooks.fan_out.add_dead_letter")
def _event_that_fails(bench: Bench) -> None:
    bench.subscribe("ava.job.queued")
    bench.stored.insert(3)
    number = bench.only("SELECT min(n) FROM webhook_events")
    bench.api.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
        " CREATE TRIGGER refuse BEFORE INSERT ON webhook_deliveries FOR EACH ROW"
        f" WHEN (NEW.n = {number}) EXECUTE FUNCTION refuse()"
    )
    fan_out = FanOut(bench.database)
    while bench.only("SELECT count(*) FROM webhook_events WHERE fanned_out_at IS NULL"):
        bench.repeat(fan_out.run_once)
    aside = "SELECT count(*) FROM dead_letters AS s JOIN webhook_events AS e ON e.id = s.row_id WHERE e.n = %s"
    assert bench.only(aside, number) == 1
    assert bench.api.execute("SELECT count(*), count(DISTINCT event_id) FROM webhook_deliveries") == [(2, 2)]


@_SCENARIOS.cuts("webhooks.endpoint_leases.release")
def _lease_of_an_idle_endpoint(bench: Bench) -> None:
    bench.subscribe("ava.job.failed")
    bench.api.execute("UPDATE webhook_lanes SET due_at = now()")
    settings = replace(bench.settings, heartbeat_seconds=0.0)
    sender = Sender(bench.database, Sealer(settings.encryption_keys), settings)
    bench.repeat(sender._run_round)
    bench.repeat(sender._run_round)
    assert sender._queues == {}
    assert bench.api.execute("SELECT sender_id, due_at FROM webhook_lanes") == [(None, None)]
    bench.api.execute("UPDATE webhook_lanes SET due_at = now()")
    other = str(uuid.uuid4())
    with bench.api.database.connect() as connection:
        endpoint_leases.heartbeat(connection, sender_id=other, host="h", pid=1, dead_after_seconds=60, held=[])
        leases = endpoint_leases.acquire(connection, sender_id=other, health=EndpointHealth.UNKNOWN, limit=9)
    assert len(leases) == 1


def _notice(bench: Bench, name: str) -> str:
    body = {"name": name, "channel": "slack", "target": "https://example.com/", "on": [{"event": "job.failed"}]}
    notice_id: str = bench.api.post("/v1/ava/notices", json=body).get_json()["data"]["id"]
    return notice_id


@_SCENARIOS.cuts(
    "webhooks.notice_windows.count_events", "webhooks.notice_windows.send", "webhooks.notice_windows.end_messages",
    "webhooks.notice_windows.delete", "webhooks.notice_windows.delete_ended",
)  # fmt: skip
def _failures_with_notices(bench: Bench) -> None:
    _notice(bench, "kept")
    paused = _notice(bench, "paused")
    bench.api.execute(
        "INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts, status,"
        " error, completed_at) SELECT 'ten_test', 'wkr_open', 'manual', 5, 'default', '{}', 'usr_test', 1, 'failed',"
        " 'ValueError: no', now() FROM generate_series(1, 7)"
    )
    for _ in range(2):
        bench.repeat(lambda: EndedJobs(bench.database).run_once(0))
    assert bench.api.post(f"/v1/ava/notices/{paused}/pause").status_code == 200
    bench.repeat(lambda: DueNotices(bench.database, public_url="").run_once(0))
    bodies = bench.api.execute("SELECT body::json -> 'data' -> 'count' FROM webhook_events JOIN webhook_deliveries"
                               " ON event_id = webhook_events.id")  # fmt: skip
    assert bodies == [(7,)]
    bench.api.execute("UPDATE notice_windows SET ends_at = now() - interval '1 s'")
    bench.repeat(lambda: DueNotices(bench.database, public_url="").run_once(0))
    assert bench.only("SELECT count(*) FROM notice_windows") == 0


@_SCENARIOS.cuts("webhooks.notices.reserve_mails")
def _mails_of_a_day(bench: Bench) -> None:
    def reserve() -> bool:
        with bench.database.connect() as connection:
            return notices.reserve_mails(connection, tenant_id="ten_test", mails=2, max_mails=6)

    bench.repeat(reserve)
    # A repeated reservation counts again: fewer mails are sent, never more.
    assert bench.only("SELECT mails FROM notice_mails") in (4, 6)
    bench.cuts.is_cutting = False
    while reserve():
        pass
    assert bench.only("SELECT mails FROM notice_mails") == 6


def test_a_sender_that_ends_stores_its_results_and_leaves_after_a_lost_response(
    api: Api, api_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = Sender(api.database, Sealer(api_settings.encryption_keys), api_settings)
    sender._run_round()
    batches = [2, 1]
    monkeypatch.setattr(sender, "_results", batches)

    def write() -> None:
        if batches.pop(0) == 2:
            raise DatabaseUnavailable

    monkeypatch.setattr(sender, "_write_outcomes", write)
    sender.run(lambda: True)
    assert batches == []
    assert api.execute("SELECT count(*) FROM webhook_senders") == [(0,)]


@pytest.mark.parametrize("scenario", _SCENARIOS, ids=name_of)
def test_repeated_work_has_one_effect(bench: Bench, scenario: Scenario) -> None:
    _SCENARIOS.run(scenario, bench)


def test_every_statement_has_a_scenario() -> None:
    assert set().union(*_SCENARIOS.values()) == {name for name, reason in ELSEWHERE.items() if reason is DUTIES}
