"""Operations on all jobs that a filter finds: each job at most once, whatever happens between two batches."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

import pytest

from ava.broker.control import Control
from ava.dispatcher.duties.probed_work import run_bulk_batches
from ava.errors import DatabaseUnavailable, LockTimeout
from ava.services.bulk_batches import BulkBatches
from ava.settings import Settings
from ava.store.jobs import bulk_operations as store
from ava.store.jobs.reads import searches
from harness.api import JOBS, NODE, Api, error_of, wrong_fields
from harness.polling import wait_until
from tests.graphs import Graphs

BULK = f"{JOBS}/bulk"
OPERATIONS = "/v1/ava/operations"
FIELDS = [
    *("id", "kind", "filter", "state", "total", "done", "failed", "created_by", "created_at", "completed_at"),
    *("result", "reason"),
]


def _make(api: Api, number: int, **fields: Any) -> None:
    for first in range(0, number, 1000):
        entries = [{"worker_id": "wkr_open", **fields}] * min(1000, number - first)
        assert api.post(BULK, json={"jobs": entries}).status_code == 201


def _fail_all(api: Api) -> None:
    api.execute("UPDATE jobs SET status = 'failed', error = 'ValueError: no', completed_at = now()")


def _start(api: Api, verb: str, *, dry_run: bool = False, **filter_: Any) -> dict[str, Any]:
    response = api.post(f"{JOBS}/{verb}", json={"filter": filter_, "dry_run": dry_run})
    assert response.status_code == (200 if dry_run else 202), response.text
    found: dict[str, Any] = response.get_json()["data"]
    return found


def _show(api: Api, operation: dict[str, Any], query: str = "") -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"{OPERATIONS}/{operation['id']}{query}").get_json()["data"]
    return found


def _batches(api: Api) -> BulkBatches:
    """The batches as the dispatcher runs them. No node runs, so no revoke is sent."""
    context = api.app.extensions["ava"]
    return BulkBatches(context.database, context.jobs, cast("Control", None))


def _dispatch(api: Api) -> int:
    return run_bulk_batches(_batches(api))


def _numbers(operation: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(operation[name] for name in ("state", "total", "done", "failed"))


# Cancel ---------------------------------------------------------------------------------------------------------------


def test_jobs_that_were_made_before_the_clock_went_back_are_cancelled_too(api: Api) -> None:
    _make(api, 6)
    # Ids of a clock that is a minute ahead.
    later = "lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint + 60000), 12, '0')"
    api.execute(
        f"UPDATE jobs SET id = (left({later}, 8) || '-' || right({later}, 4) || right(id::text, 23))::uuid"
        " WHERE id <> (SELECT id FROM jobs ORDER BY id LIMIT 1)"
    )
    operation = _start(api, "cancel", status="queued")
    _dispatch(api)
    assert _numbers(_show(api, operation)) == ("done", 6, 6, 0)


def test_all_matching_jobs_are_cancelled_over_several_batches(api: Api) -> None:
    _make(api, 1400)
    _make(api, 3, trigger="event")
    other = api.trigger(headers={"x-tenant-id": "ten_other"})
    api.execute(
        "UPDATE jobs SET status = 'running', started_at = now(), run_no = 1, attempt = 1, node_id = %s"
        " WHERE id IN (SELECT id FROM jobs WHERE trigger = 'manual' AND tenant_id = 'ten_test' LIMIT 5)",
        NODE,
    )
    started = _start(api, "cancel", trigger="manual")
    assert list(started) == FIELDS
    assert _numbers(started) == ("running", 1400, 0, 0)
    assert _dispatch(api) == 1400
    ended = _show(api, started)
    assert _numbers(ended) == ("done", 1400, 1400, 0)
    assert ended["result"] == {"cancelled": 1395, "signalled": 5}
    assert datetime.fromisoformat(ended["completed_at"]) >= datetime.fromisoformat(ended["created_at"])
    # The running ones are final later; they are not asked again.
    assert _start(api, "cancel", trigger="manual")["result"] == {"cancelled": 0, "signalled": 0}
    few = _start(api, "cancel", worker_id="wkr_open", status="queued")
    assert (_numbers(few), few["result"]) == (("done", 3, 3, 0), {"cancelled": 3, "signalled": 0})
    theirs = api.get(f"{JOBS}/{other['id']}", headers={"x-tenant-id": "ten_other"}).get_json()["data"]
    assert theirs["status"] == "queued"


def test_a_cancel_by_time_uses_the_same_bounds_as_the_list(api: Api) -> None:
    api.trigger()
    assert _start(api, "cancel", created_before="2025-01-01T00:00:00Z")["total"] == 0
    found = _start(api, "cancel", created_after="2025-01-01T00:00:00.000001+02:00")
    assert (found["done"], found["filter"]) == (1, {"created_after": "2024-12-31T22:00:00.000001Z"})


@pytest.mark.parametrize(("verb", "status"), [("cancel", "failed"), ("retry", "running")])
def test_a_status_on_which_the_operation_cannot_act_is_refused(api: Api, verb: str, status: str) -> None:
    response = api.post(f"{JOBS}/{verb}", json={"filter": {"status": status}})
    assert "filter.status" in wrong_fields(response)


def test_jobs_that_another_transaction_has_locked_are_cancelled_too(api: Api) -> None:
    job = api.trigger()
    with api.database.transaction() as connection:
        connection.exec_driver_sql("SELECT 1 FROM jobs FOR UPDATE")
        thread = threading.Thread(target=lambda: _start(Api(api.app, api.database), "cancel", status="queued"))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(10)
    assert api.get(f"{JOBS}/{job['id']}").get_json()["data"]["status"] == "cancelled"


def test_a_cancel_of_queued_jobs_stops_none_that_starts_meanwhile(graphs: Graphs) -> None:
    api = graphs.api
    plain, parent = api.trigger()["id"], api.trigger()["id"]
    run, claim_id = graphs.start(parent)
    (child,) = graphs.children(parent, claim_id, "one")
    graphs.start(child)
    graphs.wait(run, claim_id, seconds=0)
    api.execute("UPDATE jobs SET waits_for = NULL, run_at = NULL WHERE waits_for = 'sleep'")
    ended: list[dict[str, Any]] = []
    thread = threading.Thread(
        target=lambda: ended.append(_start(Api(api.app, api.database), "cancel", status="queued"))
    )
    with api.database.transaction() as connection:
        for job_id in (plain, parent):
            graphs.claim(connection, job_id)
        thread.start()
        api.wait_for_blocked()
    thread.join(10)
    assert (ended[0]["state"], ended[0]["result"]) == ("done", {"cancelled": 0, "signalled": 0})
    records = [graphs.show(job_id) for job_id in (plain, parent, child)]
    assert [(each["status"], each["cancel_requested_at"]) for each in records] == [("running", None)] * 3


def test_what_a_call_cannot_finish_the_dispatcher_does(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    _make(api, 3)

    def refuse(*_: Any) -> Any:
        raise LockTimeout

    with monkeypatch.context() as patched:
        patched.setattr(BulkBatches, "run", refuse)
        started = _start(api, "cancel", trigger="manual")
    assert _numbers(started) == ("running", 3, 0, 0)
    _dispatch(api)
    assert _numbers(_show(api, started)) == ("done", 3, 3, 0)


# Retry ----------------------------------------------------------------------------------------------------------------


def test_each_job_is_retried_once_and_those_that_the_retry_makes_are_not(api: Api) -> None:
    _make(api, 1203, input={"x": "\0\ud800"}, priority=3)
    _fail_all(api)
    api.trigger()
    started = _start(api, "retry", status="failed", worker_id="wkr_open")
    assert _numbers(started) == ("running", 1203, 0, 0)
    batches = _batches(api)
    while batches.run_next() is not None:
        # Each new job fails before the next batch, so it matches the filter as well.
        _fail_all(api)
    assert _numbers(_show(api, started)) == ("done", 1203, 1203, 0)
    made = api.execute("SELECT count(*), count(DISTINCT retry_of) FROM jobs WHERE retry_of IS NOT NULL")
    assert made == [(1203, 1203)]
    again = api.execute("SELECT count(*) FROM jobs AS j JOIN jobs AS o ON o.id = j.retry_of WHERE o.retry_of IS NULL")
    assert again == [(1203,)]
    record = api.get(f"{JOBS}?per_page=1").get_json()["data"][0]
    assert (record["input"], record["priority"], record["triggered_by"]) == ({"x": "\0\ud800"}, 3, "usr_test")


def test_a_batch_that_is_not_committed_has_done_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    _make(api, 700)
    _fail_all(api)
    started = _start(api, "retry", status="failed")
    batches = _batches(api)
    assert batches.run_next() == 500

    def crash(*_: Any, **__: Any) -> Any:
        raise DatabaseUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(store, "move", crash)
        with pytest.raises(DatabaseUnavailable):
            batches.run_next()
    assert api.execute("SELECT count(*) FROM jobs WHERE retry_of IS NOT NULL") == [(500,)]
    # One that has failed waits a while; others have their turn meanwhile.
    assert batches.run_next() is None
    api.execute("UPDATE bulk_operations SET next_at = now()")
    assert batches.run_next() == 200
    assert _numbers(_show(api, started)) == ("done", 700, 700, 0)
    assert api.execute("SELECT count(DISTINCT retry_of) FROM jobs") == [(700,)]


def test_a_filter_without_an_index_finds_its_jobs_among_all_others(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    # A search looks at so many jobs at once, so that most batches find none.
    monkeypatch.setattr(searches, "SEARCHED_JOBS", replace(searches.SEARCHED_JOBS, fixed=100))
    _make(api, 3, priority=2, tags={"order": "a-7"})
    _make(api, 350, priority=3)
    _make(api, 2, priority=2)
    _fail_all(api)
    assert _start(api, "retry", dry_run=True, priority=2) == {"total": 5, "is_exact": True}
    ended = _start(api, "retry", priority=2, error="ERROR: no")
    assert (_numbers(ended), ended["filter"]) == (("done", 5, 5, 0), {"priority": 2, "error": "ERROR: no"})
    assert api.execute("SELECT count(DISTINCT retry_of) FROM jobs WHERE priority = 2") == [(5,)]
    ended = _start(api, "cancel", tags={"order": "a-7"})
    assert (_numbers(ended), ended["filter"]) == (("done", 3, 3, 0), {"tags": {"order": "a-7"}})


def test_a_batch_is_bounded_by_bytes_too(api: Api) -> None:
    for _ in range(12):
        api.trigger(input={"x": "y" * 1_000_000})
    _fail_all(api)
    started = _start(api, "retry", status="failed")
    assert _numbers(started) == ("done", 12, 12, 0)
    assert api.execute("SELECT count(DISTINCT retry_of) FROM jobs") == [(12,)]


def test_jobs_whose_worker_takes_none_are_counted_with_the_reason(api: Api) -> None:
    _make(api, 2)
    api.announce("wkr_gone")
    api.trigger("wkr_gone")
    _fail_all(api)
    api.set_status("wkr_gone", "deprecated")
    ended = _start(api, "retry", status="failed")
    assert _numbers(ended) == ("done", 3, 2, 1)
    assert "wkr_gone" in ended["reason"]


def test_the_reason_names_the_first_of_several_workers_that_take_none(api: Api) -> None:
    for worker_id in ("wkr_gone", "wkr_lost"):
        api.announce(worker_id)
        api.trigger(worker_id)
        api.set_status(worker_id, "deprecated")
    _fail_all(api)
    assert _start(api, "retry", status="failed")["reason"].startswith("wkr_gone (and 1 more) refuses these jobs: it is")


def test_an_operation_waits_while_its_tenant_has_too_many_queued_jobs(api_settings: Settings) -> None:
    with Api.running(replace(api_settings, tenant_max_queued=100)) as api:
        # A process that has accepted jobs counts again only when its count is a second old.
        counts = api.app.extensions["ava"].jobs.creator._quota.queued_jobs._counts
        _make(api, 90)
        _fail_all(api)
        counts.clear()
        _make(api, 60)
        started = _start(api, "retry", status="failed")
        assert (started["state"], started["done"] > 0, started["failed"]) == ("running", True, 0)
        assert "tenant_queued_jobs" in started["reason"]
        for _ in range(10):
            counts.clear()
            api.execute(
                "UPDATE jobs SET status = 'cancelled', completed_at = now(), cancel_requested_at = now(),"
                " stop_status = 'cancelled'"
                " WHERE status = 'queued'"
            )
            api.execute("UPDATE bulk_operations SET next_at = now() WHERE state = 'running'")
            _dispatch(api)
        ended = _show(api, started)
        assert (_numbers(ended), ended["reason"]) == (("done", 90, 90, 0), None)


# Dry run, keys, limits, abort, audit ----------------------------------------------------------------------------------


def test_a_dry_run_counts_and_changes_nothing(api: Api) -> None:
    _make(api, 1001)
    assert _start(api, "cancel", dry_run=True, trigger="manual") == {"total": 1001, "is_exact": True}
    assert _start(api, "retry", dry_run=True, trigger="manual") == {"total": 0, "is_exact": True}
    assert api.execute("SELECT count(*) FROM jobs WHERE status = 'queued'") == [(1001,)]
    assert api.get(OPERATIONS).get_json()["data"] == []


def test_a_tenant_has_so_many_operations_at_once(api: Api) -> None:
    _make(api, 501)
    for _ in range(10):
        _start(api, "cancel", trigger="manual")
    refused = api.post(f"{JOBS}/cancel", json={"filter": {"trigger": "manual"}})
    assert "(limit running_operations)" in error_of(refused, 429, "rate_limited")["message"]
    assert int(refused.headers["Retry-After"]) > 0
    used = {limit["name"]: limit["used"] for limit in api.get("/v1/ava/limits?per_page=100").get_json()["data"]}
    assert used["running_operations"] == 10
    _dispatch(api)
    assert _start(api, "cancel", trigger="manual")["state"] == "done"


def test_an_aborted_operation_takes_no_more_jobs(api: Api) -> None:
    _make(api, 1200)
    started = _start(api, "cancel", trigger="manual")
    batches = _batches(api)
    batches.run_next()
    aborted = api.post(f"{OPERATIONS}/{started['id']}/abort").get_json()["data"]
    assert _numbers(aborted) == ("aborted", 1200, 500, 0)
    assert aborted["completed_at"]
    assert batches.run_next() is None
    assert api.execute("SELECT count(*) FROM jobs WHERE status = 'queued'") == [(700,)]
    error_of(api.post(f"{OPERATIONS}/{started['id']}/abort"), 409, "resource_conflict")
    error_of(api.get(f"{OPERATIONS}/op_nonsense"), 404, "resource_not_found")


def test_a_wait_ends_with_the_operation(api: Api) -> None:
    _make(api, 501)
    started = _start(api, "cancel", trigger="manual")
    found: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: found.append(_show(Api(api.app, api.database), started, "?wait=60")))
    waiting.start()
    _dispatch(api)
    waiting.join(20)
    assert found[0]["state"] == "done"


def test_the_audit_entry_has_the_filter_and_the_numbers(api: Api) -> None:
    _make(api, 501)
    _start(api, "cancel", dry_run=True, trigger="manual")
    started = _start(api, "cancel", trigger="manual")
    _dispatch(api)

    def entries() -> dict[str, Any]:
        return {entry["action"]: entry for entry in api.get("/v1/ava/audit").get_json()["data"] if entry["target"]}

    # The entry of the end is written with the last batch, that of the call a moment later.
    wait_until(lambda: {"operations.cancel", "operations.done"} <= entries().keys(), what="both entries")
    asked, done = entries()["operations.cancel"], entries()["operations.done"]
    assert asked["target"] == done["target"] == started["id"]
    assert asked["request_id"] == done["request_id"]
    assert (done["actor"]["id"], done["role"], done["address"]) == ("usr_test", "tenant-system-admin", "dispatcher")
    assert asked["changes"]["filter"] == [None, {"trigger": "manual"}]
    assert (asked["changes"]["total"], done["changes"]["done"]) == ([None, 501], [0, 501])


def test_ended_operations_are_deleted_after_retention(api: Api) -> None:
    _start(api, "cancel", trigger="manual")
    with api.database.connect() as connection:
        assert store.delete_old(connection, retention_days=1, limit=10) == 0
        api.execute("UPDATE bulk_operations SET completed_at = now() - interval '2 days'")
        assert store.delete_old(connection, retention_days=1, limit=10) == 1
