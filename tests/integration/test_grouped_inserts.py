"""Jobs of several clients that one statement stores."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ava.domain import ids
from ava.domain.jobs.job import JobSpec, Trigger
from ava.domain.jobs.new_job import NewJob, TreePosition
from ava.domain.jobs.trigger_options import Dedupe
from ava.domain.limits.limit import TenantRules
from ava.store.engine.database import Database
from ava.store.fleet import tenants
from ava.store.jobs.feed.polls import write_closed
from ava.store.jobs.reads import lists
from ava.store.jobs.transitions import make


def test_jobs_with_tags_and_without_share_a_statement_and_keep_their_own(database: Database) -> None:
    specs = [
        JobSpec(
            worker_id="wkr_plain", input_json=json.dumps({"n": n}), tags_json=json.dumps({"n": str(n)} if n % 2 else {})
        )
        for n in range(64)
    ]
    new = [NewJob(tenant_id=f"ten_{n % 3}", user_id="usr_a", spec=spec) for n, spec in enumerate(specs)]
    with database.connect(of_process=True) as connection:
        stored = make.insert(connection, new)
        found = connection.exec_driver_sql("SELECT key, value, tenant_id FROM job_tags").all()
    assert [(job.tenant_id, job.input_json, job.tags_json) for job in stored if job] == [
        (each.tenant_id, each.spec.input_json, each.spec.tags_json) for each in new
    ]
    assert sorted(found) == sorted(("n", str(n), f"ten_{n % 3}") for n in range(64) if n % 2)


def test_jobs_with_large_inputs_are_inserted_in_several_statements(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "_STATEMENT_CHARACTERS", 100)
    specs = [
        JobSpec(
            worker_id="wkr_plain",
            input_json=json.dumps("x" * (250 if n == 5 else 30)),
            dedupe=Dedupe(key=f"key {n % 9}") if n % 2 else None,
        )
        for n in range(20)
    ]
    new = [NewJob(tenant_id="ten_a", user_id="usr_a", spec=spec) for spec in specs]
    with database.transaction() as connection:
        stored = make.insert(connection, new)
        found = connection.exec_driver_sql("SELECT count(*) FROM jobs").scalar_one()
    assert [job and job.input_json for job in stored] == [
        spec.input_json if n < 18 or not n % 2 else None for n, spec in enumerate(specs)
    ]
    assert found == sum(job is not None for job in stored)


def test_what_is_set_at_the_moment_of_the_trigger_holds(database: Database) -> None:
    tenants_and_priorities = [("ten_a", 1), ("ten_a", 5), ("ten_b", 3), ("ten_b", 5), ("ten_limited", 3)]
    new = [
        NewJob(tenant_id=tenant_id, user_id="usr_a", spec=JobSpec(worker_id="wkr_plain", priority=priority))
        for tenant_id, priority in tenants_and_priorities
    ]

    def trigger() -> list[tuple[int, bool]]:
        jobs = [job for job in make.insert(connection, new) if job is not None]
        return [(job.priority, job.published_at is not None) for job in jobs]

    with database.connect(of_process=True) as connection:
        assert trigger() == [(1, True), (5, True), (3, True), (5, True), (3, True)]
        write_closed(connection, [("default", 5), ("other", 3)])
        tenants.write(connection, TenantRules(tenant_id="ten_a", most_urgent_priority=4, updated_by="usr_op"))
        tenants.write(connection, TenantRules(tenant_id="ten_limited", max_running=2, updated_by="usr_op"))
        assert trigger() == [(4, True), (5, False), (3, True), (5, False), (3, False)]
        # The job that has become less urgent is in the window of its new priority.
        write_closed(connection, [("default", 4)])
        assert trigger() == [(4, False), (5, True), (3, True), (5, True), (3, False)]


def test_the_job_that_is_returned_is_the_one_that_is_stored(database: Database) -> None:
    at = datetime(2035, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=-5)))
    uuid, earlier = str(ids.new_uuid()), ids.encode("job", str(ids.new_uuid()))
    position = TreePosition(tree_uuid=uuid, parent_uuid=uuid, name="a", is_detached=True, is_awaited=True)
    specs = [
        JobSpec(worker_id="wkr_plain"),
        JobSpec(worker_id="wkr_plain", trigger=Trigger.EVENT, priority=2, input_json='{"b":  1, "a": "\u00fc"}'),
        JobSpec(worker_id="wkr_plain", scheduled_at=at, expires_in_seconds=60),
        JobSpec(worker_id="wkr_plain", scheduled_at=datetime(2020, 1, 1, tzinfo=UTC)),
        JobSpec(worker_id="wkr_plain", max_retries=0, deadline_seconds=0.5, start_before=at),
        JobSpec(worker_id="wkr_plain", retry_of=earlier, tags_json='{"a": "b"}'),
        JobSpec(worker_id="wkr_plain", dedupe=Dedupe(key="k")),
    ]
    kinds: list[dict[str, Any]] = [{"spec": spec} for spec in specs]
    kinds += [
        {"spec": specs[0], "traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "may_publish": False},
        {"spec": specs[2], "is_due": True, "uuid": str(ids.new_uuid())},
        {"spec": specs[0], "uuid": uuid, "position": position},
    ]
    with database.connect() as connection:
        for kind in kinds:
            (job,) = make.insert(connection, [NewJob(tenant_id="ten_a", user_id="usr_a", **kind)])
            assert job is not None
            assert job == lists.show(connection, tenant_id="ten_a", job_id=job.id), kind
