"""A waiting job names its reason: in its record, in `why`, in the filter of lists, and in the statements' indexes."""

from __future__ import annotations

import json
from typing import Any

from ava.domain import ids
from ava.domain.events.awaited import AwaitedEvent
from ava.domain.jobs.job import RunKey, Status
from ava.domain.jobs.job_filter import JobFilter
from ava.domain.jobs.run_outcome import Ending
from ava.domain.jobs.wait_reasons import KNOWN, WaitsFor
from ava.store.engine.statement import IN_ORDER, Statement
from ava.store.jobs.feed import permit_waits
from ava.store.jobs.reads import searches
from ava.store.jobs.transitions import end, park, permits
from ava.store.reports import metrics, queue_counts, tenant_usage
from harness.api import NODE, Api, wrong_fields
from harness.timestamps import LATER
from tests.graphs import JOBS, Graphs
from tests.integration.model.run_driver import run_line
from tests.runs import ended

DEFERRAL = "Handler retries later, in 60 s: closed"


def _requeue(graphs: Graphs, ending: Ending) -> str:
    """Run a job whose attempt fails, or whose handler defers it. Returns the job."""
    job_id: str = graphs.api.trigger()["id"]
    run, claim_id = graphs.start(job_id)
    lines = [run_line(1, 1, DEFERRAL if ending is Ending.DEFERRED else "Handler failed after 1ms")]
    with graphs.api.database.connect() as connection:
        how = ended(connection, run, ending, lines, claim_id=claim_id, delay_seconds=60.0)
        assert end.end(connection, how) is Status.QUEUED
    return job_id


def _wait(graphs: Graphs, *names: str, seconds: float | None = None, event: AwaitedEvent | None = None) -> str:
    """Run a job whose handler makes children of these names, and waits for them, an event or a time."""
    job_id: str = graphs.api.trigger()["id"]
    run, claim_id = graphs.start(job_id)
    graphs.wait(run, claim_id, *graphs.children(job_id, claim_id, *names), seconds=seconds, event=event)
    return job_id


def _wait_for_each(graphs: Graphs) -> dict[str, str]:
    """Returns a job that waits for each reason."""
    api = graphs.api
    after = graphs.declare(first={}, then={"after": ["first"]})
    jobs = {
        "schedule": api.trigger(scheduled_at=LATER)["id"],
        "debounce": api.trigger(debounce={"key": "k", "seconds": 60})["id"],
        "retry": _requeue(graphs, Ending.RETRIED),
        "deferred": _requeue(graphs, Ending.DEFERRED),
        "children": _wait(graphs, "child"),
        "jobs": after["then"],
        "event": _wait(graphs, event=AwaitedEvent("order.paid")),
        "sleep": _wait(graphs, seconds=60),
        "worker": api.trigger("wkr_paused")["id"],
        "node": api.trigger()["id"],
        "queue": api.trigger()["id"],
        "contained": api.trigger()["id"],
        "approval": api.trigger()["id"],
    }
    for reason in ("node", "queue", "contained", "approval"):
        parked = "UPDATE jobs SET waits_for = %s, published_at = NULL WHERE id = %s::uuid"
        api.execute(parked, reason, ids.decode("job", jobs[reason]))
    api.execute("UPDATE workers SET max_running = 1 WHERE id = 'wkr_open'")
    return jobs | {"permit": api.trigger()["id"]}


def _ids(api: Api, query: str) -> list[str]:
    response = api.get(f"{JOBS}?{query}").get_json()
    assert response["pagination"]["total"] == len(response["data"])
    return [job["id"] for job in response["data"]]


def test_each_reason_is_in_the_record_and_finds_its_job(graphs: Graphs) -> None:
    api, jobs = graphs.api, _wait_for_each(graphs)
    assert set(jobs) == {reason.value for reason in KNOWN}
    for reason, job_id in jobs.items():
        assert graphs.show(job_id)["waits_for"] == reason
        assert _ids(api, f"filter[waits_for]={reason}") == [job_id]
    assert api.trigger(headers={"x-tenant-id": "ten_other"}, scheduled_at=LATER)["waits_for"] == "schedule"
    assert _ids(api, "filter[waits_for]=schedule") == [jobs["schedule"]]


def test_the_reason_of_a_wait_combines_with_other_filters_and_is_one_of_the_known(graphs: Graphs) -> None:
    api = graphs.api
    first, other = (api.trigger(priority=number, scheduled_at=LATER, tags={"a": "1"})["id"] for number in (2, 3))
    paused = api.trigger("wkr_paused", scheduled_at=LATER)["id"]
    reason = "filter[waits_for]=schedule"
    assert _ids(api, reason) == [paused, other, first]
    for query, found in (
        ("filter[worker_id]=wkr_paused", [paused]),
        ("filter[priority]=2", [first]),
        ("filter[tag.a]=1", [other, first]),
        ("filter[status]=queued", [paused, other, first]),
        ("filter[status]=running", []),
        ("filter[trigger]=event", []),
    ):
        assert _ids(api, f"{reason}&{query}") == found, query
    cursor = api.get(f"{JOBS}?{reason}&per_page=2").get_json()["pagination"]["next_cursor"]
    assert [job["id"] for job in api.get(f"{JOBS}?{reason}&cursor={cursor}").get_json()["data"]] == [first]
    for wrong in ("date", "unknown", ""):
        wanted = wrong_fields(api.get(f"{JOBS}?filter[waits_for]={wrong}"), 400)
        assert "filter[waits_for]" in wanted
    ended = api.post(f"{JOBS}/cancel", json={"filter": {"waits_for": "schedule", "priority": 2}})
    assert ended.get_json()["data"]["filter"] == {"waits_for": "schedule", "priority": 2}


def test_why_a_dated_job_waits_follows_from_its_reason_and_not_from_its_log(graphs: Graphs) -> None:
    api = graphs.api

    def why(job_id: str) -> str:
        sentence: str = api.get(f"{JOBS}/{job_id}/why").get_json()["data"]["sentence"]
        return sentence

    api.execute("UPDATE workers SET max_retries = 3 WHERE id = 'wkr_open'")
    retried, deferred = _requeue(graphs, Ending.RETRIED), _requeue(graphs, Ending.DEFERRED)
    assert why(retried).startswith("waiting for retry 1 of 3 at ")
    assert why(deferred).endswith(f": {DEFERRAL}")
    # The handler's own lines say what they like.
    api.execute("UPDATE job_logs SET msgs = array_fill(%s::text, ARRAY[cardinality(msgs)])", DEFERRAL)
    assert why(retried).startswith("waiting for retry 1 of 3 at ")
    # Its message comes to a node that lacks its handler, while another one has it.
    api.execute("UPDATE jobs SET waits_for = NULL, run_at = NULL, published_at = now()")
    api.execute(
        "INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes)"
        f" VALUES ('{NODE}', 'ava@a', 'a', 1, '1', '{{default}}', '{{wkr_open}}', 4)"
    )
    with api.database.connect() as connection:
        run = RunKey("ten_test", deferred, 2)
        assert park.park_unclaimed(
            connection, run=run, worker_id="wkr_open", lacks_handler=True, dead_after_seconds=14.0
        )
    assert graphs.show(deferred)["waits_for"] == "deferred"
    assert "it reached a node without the handler of wkr_open" in why(deferred)


#: 20,000 jobs that have ended and 20,000 that wait for a permit, 2,000 for other reasons, one job for a retry.
_MANY = """
INSERT INTO jobs (tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by, max_attempts, waits_for,
                  run_at, limit_key, run_no, completed_at)
SELECT 'ten_test', 'wkr_open', CASE WHEN waits_for IS NULL THEN 'completed' ELSE 'queued' END, 'manual', 5, 'default',
    '{}', 'usr_x', 1, waits_for,
    CASE WHEN waits_for IN ('schedule', 'retry') THEN now() + n * interval '1 second' END,
    CASE WHEN waits_for = 'permit' THEN 'wkr_open' END, 1, CASE WHEN waits_for IS NULL THEN now() END
FROM (VALUES ('retry', 1), (NULL, 20000), ('permit', 20000), ('schedule', 500), ('children', 500), ('node', 1000))
    AS reason (waits_for, jobs), generate_series(1, jobs) AS n
WHERE (waits_for IS NOT NULL) = %s
"""
_TENANT = {"tenant_id": "ten_test"}
_STATEMENTS: dict[str, tuple[Statement, dict[str, object], str]] = {
    "list": (
        searches._FIND_OF_REASON,
        searches._parameters("ten_test", JobFilter(waits_for=WaitsFor.RETRY), None, Status) | {"limit": 51},
        "jobs_waiting",
    ),
    "list of a worker": (
        searches._FIND_OF_REASON,
        searches._parameters("ten_test", JobFilter(waits_for=WaitsFor.RETRY, worker_id="wkr_open"), None, Status)
        | {"limit": 51},
        "jobs_waiting",
    ),
    "queues": (
        queue_counts._QUEUE_COUNTS,
        _TENANT | {"limit": 1000, "workers": ["wkr_open"], "waiting": [9]},
        "jobs_by_worker",
    ),
    "waiting by worker": (queue_counts._WAITING, _TENANT | {"limit": 1000}, "jobs_waiting"),
    "oldest of queues": (queue_counts._OLDEST, _TENANT | {"queues": ["default"]}, "jobs_backlog"),
    "quota": (tenant_usage._QUEUED_JOBS, _TENANT | {"limit": 1000}, "jobs_waiting"),
    "use of limits": (tenant_usage._WAITING_JOBS, _TENANT | {"limit": 1000}, "jobs_waiting"),
    "metrics": (metrics._WAITING_JOBS, {"reasons": [each.value for each in KNOWN], "limit": 100_000}, "jobs_waiting"),
    "follow limits": (permits._FOLLOW_LIMITS, {"workers": ["wkr_open"], "limit": 100}, "jobs_waiting"),
    "permit": (
        Statement(IN_ORDER + permit_waits._WAITING_JOBS.statement),
        {"keys": ["k"], "priorities": [5], "tenants": ["t"], "each": 9},
        "jobs_waiting_for_permit",
    ),
    "due": (park._MAKE_DUE, {"limit": 100}, "jobs_dated"),
    "return": (park._RETURN_PARKED, {"reasons": ["node"], "limit": 100, "dead_after": 14}, "jobs_parked"),
}


def test_each_statement_about_reasons_reads_a_range_of_its_index(api: Api) -> None:
    api.execute(_MANY, False)
    api.execute("ANALYZE jobs")
    api.execute(_MANY, True)
    for state in ("statistics of ended jobs", "statistics"):
        if state == "statistics":
            api.execute("ANALYZE jobs")
        for name, (statement, parameters, index) in _STATEMENTS.items():
            plan = json.dumps(_explained(api, statement, parameters))
            assert index in plan, (state, name, plan)
    # A reason that no job has is not looked for in the table.
    assert "Seq Scan" not in json.dumps(_explained(api, *_STATEMENTS["metrics"][:2]))


def test_a_list_reads_the_page_and_neither_the_newer_jobs_nor_the_rest(api: Api) -> None:
    for are_waiting in (False, True):
        api.execute(_MANY, are_waiting)
    api.execute("ANALYZE jobs")
    for reason, most_blocks in ((WaitsFor.RETRY, 50), (WaitsFor.PERMIT, 1_000)):
        parameters = searches._parameters("ten_test", JobFilter(waits_for=reason), None, Status) | {"limit": 51}
        plan = _explained(api, searches._FIND_OF_REASON, parameters, "ANALYZE, BUFFERS, ")
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < most_blocks, plan


def _explained(api: Api, statement: Statement, parameters: dict[str, object], options: str = "") -> dict[str, Any]:
    *settings, query = statement.strip().removesuffix(";").split(";")
    with api.database.transaction() as connection:
        for each in settings:
            connection.exec_driver_sql(each)
        (plan,) = connection.exec_driver_sql(f"EXPLAIN ({options}FORMAT JSON) {query}", parameters).scalar_one()
        found: dict[str, Any] = plan["Plan"]
        return found
