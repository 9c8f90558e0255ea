"""There is one way to make jobs: every door makes them by the same rules, and a refusal is a value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from werkzeug.test import TestResponse

from ava.broker.celery_app import make_app
from ava.broker.control import Control
from ava.dispatcher.duties.schedules import fire_due_schedules
from ava.domain import ids
from ava.domain.input_schema import InputMismatch
from ava.domain.jobs.job import Job, JobSpec
from ava.domain.jobs.new_job import JobOrRefusal, NewJob
from ava.domain.jobs.trigger_options import Debounce, Dedupe, DedupeMode
from ava.domain.jobs.wait_reasons import WaitsFor
from ava.domain.limits.limit import TenantRules
from ava.domain.worker import Rate, WorkerLimits
from ava.errors import InvalidFields, JobStateConflict, TooMany, WorkerDeprecated, WorkerNotFound
from ava.services.creation import job_creator
from ava.services.creation.job_creator import JobCreator
from ava.services.creation.quotas import TenantQuotas
from ava.services.due_firings import DueFirings
from ava.settings import Settings
from ava.store.engine.database import Connection
from ava.store.fleet import tenants, workers
from ava.store.jobs.reads import lists
from harness.api import JOBS, Api
from tests.backlog import worker_spec

SCHEDULES = "/v1/ava/schedules"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TAGS = {"order": "17"}
#: More bytes than a list of jobs shows.
LARGE = {"text": "x" * 20_000}

Fields = dict[str, Any]


def _post(api: Api, path: str, body: Fields, **headers: str) -> TestResponse:
    return api.post(path, json=body, headers=headers)


def _trigger(api: Api, fields: Fields) -> TestResponse:
    """A trigger, which the process stores with those that come at the same time."""
    return _post(api, JOBS, fields)


def _trigger_once(api: Api, fields: Fields) -> TestResponse:
    return _post(api, JOBS, fields, **{"idempotency-key": "k"})


def _bulk(api: Api, fields: Fields) -> TestResponse:
    return _post(api, f"{JOBS}/bulk", {"jobs": [fields]})


def _dedupe(api: Api, fields: Fields) -> TestResponse:
    return _post(api, JOBS, {**fields, "dedupe": {"key": "k"}})


def _debounce(api: Api, fields: Fields) -> TestResponse:
    return _post(api, JOBS, {**fields, "debounce": {"key": "k", "seconds": 60}})


def _end_first(api: Api, fields: Fields) -> str:
    """Make a job of another worker and end it, as if it had been one of this worker. Returns its id."""
    job_id = str(api.trigger(**{**fields, "worker_id": "wkr_open"})["id"])
    api.execute(
        "UPDATE jobs SET status = 'failed', error = 'ValueError: no', completed_at = now(), worker_id = %s",
        fields["worker_id"],
    )
    return job_id


def _retry(api: Api, fields: Fields) -> TestResponse:
    return api.post(f"{JOBS}/{_end_first(api, fields)}/retry")


def _operation(api: Api, fields: Fields) -> TestResponse:
    _end_first(api, fields)
    return _post(api, f"{JOBS}/retry", {"filter": {"status": "failed"}})


def _schedule(api: Api, fields: Fields) -> str:
    known = {name: value for name, value in fields.items() if name != "tags"}
    cron = {"cron": "* * * * *", "timezone": "UTC"}
    response = _post(api, SCHEDULES, {**known, **cron, "worker_id": "wkr_open"})
    assert response.status_code == 201, response.text
    api.execute("UPDATE schedules SET worker_id = %s", fields["worker_id"])
    return str(response.get_json()["data"]["id"])


def _firing(api: Api, fields: Fields) -> None:
    _schedule(api, fields)
    api.execute("UPDATE schedules SET decided_until = now() - interval '1 minute', next_run_at = now()")
    settings: Settings = api.app.extensions["ava"].settings
    control, creator = Control(make_app(settings)), JobCreator.of(settings)
    fire_due_schedules(api.database, DueFirings(api.database, control, creator=creator))


def _run_now(api: Api, fields: Fields) -> TestResponse:
    return api.post(f"{SCHEDULES}/{_schedule(api, fields)}/run")


DOORS = {
    "trigger": _trigger,
    "trigger once": _trigger_once,
    "bulk": _bulk,
    "dedupe": _dedupe,
    "debounce": _debounce,
    "retry": _retry,
    "operation": _operation,
    "firing": _firing,
    "run now": _run_now,
}
every_door = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)


def _made(api: Api, door: Callable[[Api, Fields], object], fields: Fields) -> Job:
    """Make a job through a door. Returns it as it is stored."""
    door(api, fields)
    job_ids = api.execute("SELECT id::text FROM jobs ORDER BY id DESC LIMIT 1")
    with api.database.connect() as connection:
        job = lists.show(connection, tenant_id="ten_test", job_id=ids.encode("job", job_ids[0][0]))
    assert job is not None
    assert job.status == "queued"
    return job


@every_door
def test_a_job_has_the_bound_of_its_tenant_and_the_queue_and_limits_of_its_worker(
    api: Api, door: Callable[[Api, Fields], object]
) -> None:
    rate = Rate(jobs=5, seconds=60)
    limits = WorkerLimits(max_running=2, max_running_per="tenant", rate=rate, rate_per="input.account")
    with api.database.connect() as connection:
        workers.announce(connection, [replace(worker_spec("wkr_bound", queue="own", limits=limits), max_retries=3)])
        tenants.write(connection, TenantRules(tenant_id="ten_test", most_urgent_priority=4, updated_by="usr_op"))
    job = _made(api, door, {"worker_id": "wkr_bound", "priority": 2, "input": {"account": 7}})
    assert (job.queue, job.max_attempts, job.priority, job.published_at) == ("own", 4, 4, None)
    assert job.waits_for is (WaitsFor.DEBOUNCE if door is _debounce else WaitsFor.PERMIT)
    keys = api.execute("SELECT limit_key, rate_key FROM jobs WHERE status = 'queued'")
    assert keys == [("wkr_bound ten_test", "wkr_bound ten_test 7")]


@every_door
def test_a_job_has_the_size_of_its_input_and_the_tags_and_trace_that_it_was_triggered_with(
    api: Api, door: Callable[[Api, Fields], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_creator.tracing, "current", lambda: TRACE)
    job = _made(api, door, {"worker_id": "wkr_open", "input": LARGE, "tags": TAGS})
    assert job.input == LARGE
    sizes = api.execute("SELECT input_bytes, octet_length(input::text) FROM jobs WHERE status = 'queued'")
    assert sizes[0][0] == sizes[0][1] > 20_000
    has_tags = door not in (_firing, _run_now)
    assert job.tags == (TAGS if has_tags else {})
    tagged = api.execute(
        "SELECT t.key, t.value FROM job_tags AS t JOIN jobs AS j ON j.id = t.job_id WHERE status = 'queued'"
    )
    assert tagged == ([("order", "17")] if has_tags else [])
    # No request makes the job of a firing.
    assert job.traceparent == (None if door is _firing else TRACE)


@every_door
def test_a_job_of_a_paused_worker_waits_and_is_not_published(api: Api, door: Callable[[Api, Fields], object]) -> None:
    job = _made(api, door, {"worker_id": "wkr_paused"})
    # A debounced job waits for its date first.
    assert job.waits_for is (WaitsFor.DEBOUNCE if door is _debounce else WaitsFor.WORKER)
    assert job.published_at is None


@every_door
def test_a_deprecated_worker_gets_no_job(api: Api, door: Callable[[Api, Fields], object]) -> None:
    api.announce("wkr_old")
    api.set_status("wkr_old", "deprecated")
    response = door(api, {"worker_id": "wkr_old"})
    assert api.execute("SELECT count(*) FROM jobs WHERE status = 'queued'") == [(0,)]
    if door is _firing:
        assert api.execute("SELECT outcome, reason FROM schedule_firings") == [
            ("skipped", "worker wkr_old is deprecated")
        ]
    elif door is _operation:
        assert isinstance(response, TestResponse)
        assert response.get_json()["data"]["failed"] == 1
    else:
        assert isinstance(response, TestResponse)
        assert response.status_code == 409


# Refusals are values --------------------------------------------------------------------------------------------------


class Creator:
    """Creates jobs in a transaction of its own."""

    def __init__(self, connection: Connection, quota: TenantQuotas | None = None) -> None:
        self.connection = connection
        self.creator = JobCreator(quota=quota)

    def prepare(self, *specs: JobSpec, tenant_id: str = "ten_test") -> list[NewJob]:
        return self.creator.prepare(tenant_id=tenant_id, user_id="usr_test", specs=specs)

    def create(self, *specs: JobSpec) -> list[JobOrRefusal]:
        return self.creator.create(self.connection, self.prepare(*specs))

    def schema(self, version: str, schema: Fields) -> None:
        """Announce that `wkr_open` has another schema, as a node with another release does."""
        self.connection.exec_driver_sql(
            "UPDATE workers SET input_schema = %s::json, input_schema_version = %s WHERE id = 'wkr_open'",
            (json.dumps(schema), version),
        )


@pytest.fixture
def jobs(api: Api) -> Iterator[Creator]:
    api.announce("wkr_old")
    api.set_status("wkr_old", "deprecated")
    with api.database.transaction() as connection:
        yield Creator(connection)


def _kinds(outcomes: list[JobOrRefusal]) -> list[type]:
    return [type(outcome) for outcome in outcomes]


def test_each_entry_gets_its_job_or_the_reason_of_its_refusal(jobs: Creator) -> None:
    jobs.schema("v1", {"required": ["a"]})
    outcomes = jobs.create(
        JobSpec(worker_id="wkr_paused"),
        JobSpec(worker_id="wkr_gone"),
        JobSpec(worker_id="wkr_theirs"),
        JobSpec(worker_id="wkr_old"),
        JobSpec(worker_id="wkr_open", input_json='{"b": 1}'),
        JobSpec(worker_id="wkr_open", input_json='{"a": 1}'),
    )
    assert _kinds(outcomes) == [Job, WorkerNotFound, WorkerNotFound, WorkerDeprecated, InputMismatch, Job]
    inputs = jobs.connection.exec_driver_sql("SELECT input::text FROM jobs ORDER BY id").scalars().all()
    assert inputs == ["{}", '{"a": 1}']


def test_a_debounced_job_is_deferred_although_the_schema_changed_after_the_comparison(jobs: Creator) -> None:
    debounced = JobSpec(worker_id="wkr_open", debounce=Debounce(key="d", seconds=60))
    (first,) = jobs.create(debounced)
    new = jobs.prepare(debounced)
    jobs.schema("v2", {})
    (again,) = jobs.creator.create(jobs.connection, new)
    assert isinstance(first, Job)
    assert isinstance(again, Job)
    assert (again.id, again.is_existing) == (first.id, True)


def test_of_a_full_tenant_the_first_jobs_are_made_or_none(api: Api) -> None:
    specs = [JobSpec(worker_id="wkr_open")] * 3
    with api.database.transaction() as connection:
        jobs = Creator(connection, TenantQuotas(queued_jobs=2))
        assert _kinds(jobs.creator.create(connection, jobs.prepare(*specs), in_part=False)) == [TooMany] * 3
        other = jobs.prepare(JobSpec(worker_id="wkr_open"), tenant_id="ten_other")
        outcomes = jobs.creator.create(connection, [*jobs.prepare(*specs), *other])
        assert _kinds(outcomes) == [Job, Job, TooMany, Job]


def test_keys_decide_for_each_entry(jobs: Creator) -> None:
    def deduped(key: str, mode: DedupeMode) -> JobSpec:
        return JobSpec(worker_id="wkr_open", dedupe=Dedupe(key=key, mode=mode))

    debounced = JobSpec(worker_id="wkr_open", debounce=Debounce(key="d", seconds=60))
    first, dated = jobs.create(deduped("a", DedupeMode.RETURN), debounced)
    assert isinstance(first, Job)
    assert isinstance(dated, Job)
    outcomes = jobs.create(
        deduped("a", DedupeMode.RETURN),
        deduped("b", DedupeMode.REFUSE),
        deduped("b", DedupeMode.REFUSE),
        debounced,
        debounced,
        JobSpec(worker_id="wkr_gone", dedupe=Dedupe(key="a")),
        JobSpec(worker_id="wkr_open"),
    )
    assert _kinds(outcomes) == [Job, Job, InvalidFields, Job, InvalidFields, WorkerNotFound, Job]
    found = [outcome for outcome in outcomes if isinstance(outcome, Job)]
    assert [(job.id in (first.id, dated.id), job.is_existing) for job in found] == [
        (True, True),
        (False, False),
        (True, True),
        (False, False),
    ]
    assert _kinds(jobs.create(deduped("a", DedupeMode.REFUSE))) == [JobStateConflict]
    (replacing,) = jobs.create(deduped("a", DedupeMode.REPLACE))
    assert isinstance(replacing, Job)
    assert replacing.id != first.id
