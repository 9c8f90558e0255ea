"""The jobs that containments hold: their counts and pages, and their release while others are lifted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from ava.broker.control import Control
from ava.dispatcher.duties.containments import ContainmentProgress
from ava.domain import ids
from ava.domain.access.caller import Caller, Role
from ava.domain.containment import ContainedScope, Containment, ContainmentSpec, ContainmentState, HeldJobs
from ava.domain.counts import PageBounds
from ava.domain.jobs.job import RunKey
from ava.services.containments import Containments
from ava.services.signing import ContainmentSigner
from ava.settings import Settings
from ava.store.containments import records, scopes
from ava.store.engine.database import Connection
from ava.store.jobs.transitions import claim, contain
from ava.store.jobs.transitions.claim import Claim
from ava.store.jobs.transitions.park import ListPosition
from harness.api import Api
from harness.polling import wait_until
from tests.backlog import NODE, WORKER, Backlog, open_backlog
from tests.integration.hook_sender import Hook

CALLER = Caller(tenant_id="ten_test", user_id="usr_test", role=Role.TENANT_ADMIN)


@pytest.fixture
def backlog(database_settings: Settings) -> Iterator[Backlog]:
    with open_backlog(database_settings) as backlog:
        yield backlog


def _contain(backlog: Backlog, jobs: int, tenant_id: str = "ten_test", **scope: str) -> Containment:
    """Insert jobs of a tenant, and hold them."""
    backlog.insert(jobs, tenant_id=tenant_id)
    spec = ContainmentSpec(scope=ContainedScope(tenant_id=tenant_id, **scope), reason="a test")
    with backlog.database.transaction() as connection:
        created = records.create(connection, spec, by=CALLER.actor)
    with backlog.database.connect() as connection:
        contain.hold(connection, created, tenant_id=tenant_id, after=ListPosition())
    return created


def test_a_tenant_reads_none_of_the_jobs_that_others_hold(backlog: Backlog) -> None:
    _contain(backlog, 500, "ten_large")
    small = _contain(backlog, 5, worker_id=WORKER)
    backlog.run("ANALYZE jobs")
    before = sum(backlog.rows_read())
    with backlog.database.connect() as connection:
        connection.exec_driver_sql("SET enable_seqscan = off")
        assert scopes.count_held(connection, small.scope) == 5
        assert scopes.running(connection, small.scope) == []
        page = scopes.page(connection, small, bounds=PageBounds(limit=2, offset=1))
        assert contain.uncovered(connection, small.scope, limit=10) == []
    assert page.total == 5
    assert sum(backlog.rows_read()) - before < 100


def test_the_pages_of_a_containment_show_each_held_and_each_stopped_job_once(backlog: Backlog) -> None:
    created = _contain(backlog, 6, worker_id=WORKER)
    jobs = [uuid for (uuid,) in backlog.run("SELECT id::text FROM jobs ORDER BY id DESC")]
    # Of the jobs that it has stopped, one is held, one is not, and one was deleted.
    backlog.run("UPDATE jobs SET waits_for = NULL WHERE id = %(id)s::uuid", id=jobs[2])
    stopped = [("ten_test", uuid) for uuid in [*jobs[1:3], NODE]]
    with backlog.database.connect() as connection:
        records.record_stops(connection, created, stopped)
        pages = [scopes.page(connection, created, bounds=PageBounds(limit=2, offset=offset)) for offset in (0, 2, 4, 6)]
        after = scopes.page(connection, created, bounds=PageBounds(limit=10, after_id=ids.encode("job", jobs[2])))
        lifted = scopes.page(connection, replace(created, state=ContainmentState.LIFTED), bounds=PageBounds(limit=10))
    assert [ids.decode("job", job.id) for page in pages for job in page.jobs] == [UUID(uuid) for uuid in jobs]
    assert {page.total for page in pages} == {6}
    assert [job.id for job in after.jobs] == [ids.encode("job", uuid) for uuid in jobs[3:]]
    assert [job.id for job in lifted.jobs] == [ids.encode("job", uuid) for uuid in jobs[1:3]]


def test_a_lift_of_one_tenant_delays_no_release_of_another(backlog: Backlog, database_settings: Settings) -> None:
    own, theirs = _contain(backlog, 2), _contain(backlog, 3, "ten_other")
    Containments(backlog.database, ContainmentSigner(backlog.database, database_settings)).lift(
        CALLER, own.id, HeldJobs.CANCEL, request_id="r"
    )
    with backlog.database.connect() as connection:
        records.end(connection, theirs, held_count=3, by=CALLER.actor)
    duty = ContainmentProgress(
        backlog.database, Control(backlog.app), ContainmentSigner(backlog.database, database_settings)
    )
    assert duty.run_once(0) == 3
    assert backlog.count("waits_for = 'contained' AND tenant_id = 'ten_test'") == 2
    backlog.run("UPDATE bulk_operations SET state = 'done', completed_at = now()")
    assert duty.run_once(1) == 2


def _contain_by_api(api: Api, scope: dict[str, str], **more: str) -> str:
    response = api.post("/v1/ava/containments", json={"scope": scope, "reason": "a test", **more})
    assert response.status_code == 201, response.text
    assert response.get_json()["data"]["scope"] == scope
    return str(response.get_json()["data"]["id"])


@pytest.mark.parametrize("triggers", ["refuse", "hold"])
def test_a_hook_and_a_source_are_contained_with_the_jobs_that_they_caused(api: Api, triggers: str) -> None:
    """Of a hook that creates jobs, of one whose events create them, and of events with a source; no others."""
    subscription = {"event_type": "seen.it", "worker_id": "wkr_open"}
    assert api.post("/v1/ava/subscriptions", json=subscription).status_code == 201
    by_job, by_event = Hook(api, worker_id="wkr_open"), Hook(api, event_type="seen.it")

    def send(source: str) -> dict[str, Any]:
        response = api.post("/v1/ava/events", json={"type": "seen.it", "source": source, "data": {}})
        assert response.status_code == 201
        return dict(response.get_json()["data"])

    earlier = [by_job.accepted({"n": 0}, {"x-github-delivery": "d0"})["job_ids"][0], send("/a,b c")["job_ids"][0]]
    for hook in (by_job, by_event):
        _contain_by_api(api, {"hook_id": hook.id}, triggers=triggers)
    _contain_by_api(api, {"source": "/a,b c"}, triggers=triggers)
    by_job_now, by_event_now = (hook.accepted({"n": 1}, {"x-github-delivery": "d1"}) for hook in (by_job, by_event))
    event, free = send("/a,b c"), send("/a,b")
    (free_id,) = free["job_ids"]
    assert api.get(f"/v1/ava/jobs/{free_id}").get_json()["data"]["waits_for"] is None
    contained = [*by_job_now["job_ids"], *by_event_now["job_ids"], *event["job_ids"]]
    if triggers == "refuse":
        assert contained == []
        for hook, receipt in ((by_job, by_job_now), (by_event, by_event_now)):
            assert hook.delivery(receipt["delivery_id"])["status"] == "skipped"
        # Two of `/a,b c`, one of `/a,b`: a skipped delivery stores no event, on which jobs might wait.
        assert len(api.execute("SELECT FROM events")) == 3
        assert len(event["refused"]) == 1
    else:
        assert len(contained) == 3
    with api.database.connect() as connection:
        for each in records.active(connection):
            contain.hold(connection, each, tenant_id="ten_test", after=ListPosition())
    for job_id in [*earlier, *contained]:
        assert api.get(f"/v1/ava/jobs/{job_id}").get_json()["data"]["waits_for"] == "contained"
    assert api.get(f"/v1/ava/jobs/{free_id}").get_json()["data"]["waits_for"] is None


def test_a_claim_that_waits_for_the_table_sees_a_containment_that_was_committed_meanwhile(backlog: Backlog) -> None:
    """A claim takes its snapshot before it locks the table: `LOCK TABLE` holds it in between."""
    backlog.insert(2, is_published=True)
    jobs = [RunKey("ten_test", ids.encode("job", uuid), 1) for (uuid,) in backlog.run("SELECT id::text FROM jobs")]
    single = Claim(run=jobs[0], worker_id=WORKER, node_id=NODE, claim_id=NODE)
    claims: list[Callable[[Connection], object]] = [
        lambda c: claim.claim(c, single),
        lambda c: claim.claim_together(c, jobs, worker_id=WORKER, node_id=NODE, claim_id=NODE),
    ]
    with ThreadPoolExecutor(len(claims)) as threads, backlog.database.transaction() as connection:
        connection.exec_driver_sql("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        found = [threads.submit(_run, backlog, each) for each in claims]
        waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'jobs'::regclass AND NOT granted"
        wait_until(lambda: backlog.run(waiting) == [(len(claims),)], what="the claims wait for the table")
        with backlog.database.transaction() as other:
            records.create(
                other, ContainmentSpec(scope=ContainedScope(tenant_id="ten_test"), reason="a test"), by=CALLER.actor
            )
        connection.rollback()
    assert [each.result() for each in found] == [None, []]


def _run(backlog: Backlog, act: Callable[[Connection], object]) -> object:
    with backlog.database.connect() as connection:
        return act(connection)
