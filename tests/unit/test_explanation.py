"""Why a job has its status, in one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ava.domain.access.actor import SYSTEM, Actor, ActorKind, Via
from ava.domain.jobs.explanation import Facts, explain
from ava.domain.jobs.job import Status
from ava.domain.jobs.wait_reasons import WaitsFor
from ava.domain.jobs.waiting import LimitFacts, Waiting
from ava.domain.limits.rates import Rate
from ava.domain.pause import Pause
from ava.domain.worker import WorkerStatus
from tests.unit.handlers import JOB

_NOW = datetime(2025, 6, 1, 10, tzinfo=UTC)
_JOB = replace(
    JOB,
    worker_id="wkr_x",
    status=Status.QUEUED,
    started_at=None,
    published_at=None,
    attempt=0,
    max_attempts=4,
    run_no=0,
    queue="gpu",
)
_FACTS = Facts(
    job=_JOB,
    worker_status=WorkerStatus.ACTIVE,
    processes=4,
    is_queue_refused=False,
    ahead=214,
    ahead_of_all=240,
    average_ms=200,
    node_name=None,
    node_silent_seconds=None,
    node_dead_after_seconds=15,
)


def _why(*, facts: dict[str, Any] | None = None, **job: Any) -> str:
    return explain(replace(_FACTS, job=replace(_JOB, **job), **(facts or {}))).sentence


def test_a_queued_job_names_the_jobs_ahead_of_it_and_the_wait() -> None:
    assert _why() == "queued: 214 ahead of it in queue gpu, 4 processes, about 12 s with the load of other tenants"
    assert _why(facts={"ahead": 10_000}).startswith("queued: more than 10000 ahead")
    assert _why(facts={"ahead_of_all": 12_000}).endswith("about 10 min with the load of other tenants")
    assert _why(facts={"ahead_of_all": 20_000}) == (
        "queued: more than 214 ahead of it in queue gpu, 4 processes, at least 17 min with the load of other tenants"
    )


def test_every_job_ahead_counts_as_long_as_the_tenants_own_took() -> None:
    mixed = {"ahead": 100, "ahead_of_all": 500, "average_ms": 200}
    assert _why(facts=mixed).endswith(
        "100 ahead of it in queue gpu, 4 processes, about 25 s with the load of other tenants"
    )
    assert _why(facts=mixed | {"ahead_of_all": 100}).endswith("4 processes, about 5 s")


def test_without_a_completed_job_of_the_tenant_there_is_no_estimate_and_the_sentence_says_why() -> None:
    assert _why(facts={"average_ms": None, "processes": 1}) == (
        "queued: 214 ahead of it in queue gpu, 1 process, no estimate because this tenant has no completed job of wkr_x"
    )


def test_a_job_that_waits_for_busy_processes_names_the_longest_run_and_no_time_of_zero() -> None:
    busy = {"ahead": 0, "ahead_of_all": 0, "processes": 3, "busy": 3, "busy_seconds": 725.0}
    assert _why(facts=busy) == "queued: 0 ahead of it in queue gpu, 3 processes, all busy, the longest for 12 min"
    assert explain(replace(_FACTS, **busy)).facts.estimate_seconds is None
    assert _why(facts=busy | {"processes": 1}).endswith("1 process, busy for 12 min")
    assert _why(facts=busy | {"busy": 2}).endswith("3 processes, about 0 s")
    assert _why(facts=busy | {"ahead": 30, "ahead_of_all": 30}).endswith("all busy, the longest for 12 min, about 2 s")
    assert "no estimate because" in _why(facts=busy | {"average_ms": None})
    # How long the jobs of other tenants run is theirs.
    of_tenant = replace(_FACTS, **busy, busy_seconds_of_tenant=None).without_names()
    assert explain(of_tenant).sentence.endswith("3 processes, all busy")


def test_a_job_that_waits_for_an_event_says_as_well_that_no_process_could_continue_it() -> None:
    waiting_for = json.dumps({"jobs": [], "event": {"type": "order.paid", "match": None}, "until": None})
    waits: dict[str, Any] = {"waits_for": WaitsFor.EVENT, "run_no": 1, "attempt": 1, "waiting_for_json": waiting_for}
    said = "queued: its handler waits for an event order.paid"
    assert _why(**waits) == said
    gone = "; no live worker serves wkr_x on queue gpu, so it could not continue now"
    assert _why(facts={"processes": 0}, **waits) == said + gone
    assert _why(facts={"processes": 0}, queue="pull:ten_test:wkr_x:ten_test", **waits) == (
        f"{said}; no worker has ever polled for runs of wkr_x"
    )


def test_whether_a_job_or_its_handler_waits_for_others_follows_from_the_reason() -> None:
    waits: dict[str, Any] = {"run_no": 1, "waiting_for_json": '{"jobs": ["job_a"], "event": null, "until": null}'}
    assert _why(waits_for=WaitsFor.JOBS, **waits) == "queued: waits for the end of job_a"
    assert _why(waits_for=WaitsFor.CHILDREN, **waits) == "queued: its handler waits for the end of job_a"


def test_a_queued_job_without_a_live_worker_says_so() -> None:
    assert _why(facts={"processes": 0}) == "queued: no live worker serves wkr_x on queue gpu"


def test_a_queued_job_whose_queue_the_broker_refuses_says_so() -> None:
    refused = {"is_queue_refused": True}
    said = "queued: the broker refuses the queue gpu; the nodes that serve it retry every few seconds"
    assert _why(facts={"processes": 0, **refused}) == said
    # Another node may be served by another server of the cluster.
    assert _why(facts=refused) == _why()


def test_a_dated_job_names_its_time() -> None:
    assert _why(waits_for=WaitsFor.SCHEDULE, run_at=_NOW) == "scheduled for 2025-06-01T10:00:00Z"
    assert _why(waits_for=WaitsFor.DEFERRED, run_at=_NOW, attempt=2) == (
        "queued: it reached a node without the handler of wkr_x; it is published again at 2025-06-01T10:00:00Z"
    )
    assert _why(waits_for=WaitsFor.RETRY, run_at=_NOW, attempt=2) == "waiting for retry 2 of 3 at 2025-06-01T10:00:00Z"


def test_a_job_of_a_paused_worker_says_who_paused_it_and_when() -> None:
    by = Actor(id="usr_y", kind=ActorKind.USER, via=Via.HEADERS, is_operator=True)
    pause = Pause(by=by, at=_NOW, reason=None)
    paused = {"worker_status": WorkerStatus.PAUSED, "worker_paused": pause}
    said = "queued: paused by usr_y since 2025-06-01T10:00:00Z; it waits until wkr_x is active again"
    assert _why(facts=paused) == said
    assert _why(facts=paused, waits_for=WaitsFor.WORKER) == said
    assert "paused by the platform since" in _why(facts={**paused, "worker_paused": pause.for_tenants})
    scheduled = _why(facts=paused, waits_for=WaitsFor.SCHEDULE, run_at=_NOW)
    assert scheduled == "scheduled for 2025-06-01T10:00:00Z"
    assert _why(waits_for=WaitsFor.WORKER).startswith("queued: wkr_x is active again")


def test_a_job_that_waits_says_that_its_worker_was_deprecated() -> None:
    assert _why(facts={"worker_status": WorkerStatus.DEPRECATED}).endswith(
        "; wkr_x is deprecated and takes no new jobs"
    )


def test_a_running_job_names_its_node_and_a_requested_cancel() -> None:
    running = {"status": Status.RUNNING, "started_at": _NOW, "attempt": 1}
    said = "running on node ava@host since 2025-06-01T10:00:00Z, attempt 1 of 4"
    assert _why(facts={"node_name": "ava@host", "node_silent_seconds": 1}, **running) == said
    assert _why(facts={"node_name": "ava@host", "node_silent_seconds": 20}, **running).endswith(
        "no heartbeat for 20 s, so the job is about to be rescued"
    )
    asked = _why(cancel_requested_at=_NOW, cancelled_by="usr_y", **running)
    assert asked.endswith("; usr_y requested its cancel at 2025-06-01T10:00:00Z")


def test_a_final_job_names_its_end() -> None:
    ended = {"started_at": _NOW - timedelta(seconds=2), "completed_at": _NOW, "attempt": 1}
    assert _why(status=Status.COMPLETED, **ended) == "completed at 2025-06-01T10:00:00Z after 2000 ms"
    assert _why(status=Status.FAILED, error="E: x", **ended).endswith("in attempt 1 of 4: E: x")
    assert _why(status=Status.CANCELLED, cancelled_by="usr_y", **ended).startswith("cancelled by usr_y")


def test_a_job_that_waits_for_more_than_its_position_names_the_reason() -> None:
    def why(**waiting: Any) -> str:
        return _why(facts={"waiting": Waiting(**waiting)})

    def of_limit(**given: Any) -> str:
        usual = {"worker_id": "wkr_x", "per": None, "value": None, "running": 5, "max_running": 5, "rate": None}
        return why(limit=LimitFacts(**{**usual, "rate_wait_seconds": 0.0, "position": 3, **given}))

    by = Actor(id="usr_op", kind=ActorKind.USER, via=Via.HEADERS, is_operator=True)
    pause = Pause(by=by, at=_NOW, reason="the database\nmoves")
    said = "since 2025-06-01T10:00:00Z: the database moves"
    assert why(paused=pause) == f"queued: paused by usr_op {said}"
    assert why(paused=pause.for_tenants) == f"queued: paused by the platform {said}"
    assert "paused by the system since" in why(paused=replace(pause, by=SYSTEM))
    labelled = replace(pause, by=Actor.parse("key_1 key usr_x"))
    assert why(paused=labelled) == f"queued: paused by key_1 (labelled usr_x) {said}"
    assert of_limit() == "queued: limit: wkr_x runs 5 of 5, 3rd in line"
    assert of_limit(per="tenant") == "queued: limit: wkr_x of this tenant runs 5 of 5, 3rd in line"
    assert of_limit(per="input.account.id", value="42", position=11).endswith("account.id 42 runs 5 of 5, 11th in line")
    assert of_limit(max_running=0) == "queued: limit: wkr_x may run none"
    rate = Rate(jobs=100, seconds=60)
    assert of_limit(max_running=None, rate=rate, position=1) == "queued: limit: wkr_x starts 100/minute, 1st in line"
    assert why(tenant_running=2, tenant_max_running=2) == "queued: limit: this tenant runs 2 of 2"
    assert why(other_tenants=2).startswith("queued: tenant turn: 2 others before it, 214 ahead of it")
    deferral = "Handler retries later, in 30 s: closed"
    assert _why(facts={"waiting": Waiting(deferral=deferral)}, waits_for=WaitsFor.DEFERRED, run_at=_NOW) == (
        f"waiting until 2025-06-01T10:00:00Z: {deferral}"
    )
    debounced = {"debounced_at": _NOW, "debounced_until": _NOW}
    assert _why(facts={"waiting": Waiting(**debounced)}, waits_for=WaitsFor.DEBOUNCE, run_at=_NOW) == (
        "waiting until 2025-06-01T10:00:00Z: debounce: each trigger with its key delays it, since "
        "2025-06-01T10:00:00Z, until 2025-06-01T10:00:00Z at most"
    )
