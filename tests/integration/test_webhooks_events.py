"""Events: stored with the transition of their job, for subscribed webhooks, with the record of that moment."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from ava.delivery.fan_out import FanOut
from ava.domain.jobs.job import LogLevel, LogLine, RunKey
from ava.domain.jobs.run_outcome import Ending
from ava.store.engine import clock
from ava.store.engine.database import Connection
from ava.store.fleet import nodes
from ava.store.fleet.nodes import NodeSpec
from ava.store.jobs.transitions import cancel, claim, end, rescue
from ava.store.webhooks import webhook_events
from harness.api import NODE, Api
from tests.graphs import Graphs
from tests.runs import ended

ALL = ["ava.job.queued", "ava.job.started", "ava.job.completed", "ava.job.failed", "ava.job.cancelled"]


@pytest.fixture
def connection(api: Api) -> Iterator[Connection]:
    with api.database.connect() as connection:
        spec = NodeSpec(id=NODE, name="n", host="h", pid=1, version="1", queues=[], workers=[], processes=1)
        nodes.register(connection, spec)
        yield connection


def _subscribe(api: Api, events: list[str] = ALL, **rest: Any) -> dict[str, Any]:
    response = api.post(
        "/v1/webhooks",
        json={"url": "https://example.com/", "events": events, "secret": "of-the-tests-of-events"},
        **rest,
    )
    record: dict[str, Any] = response.get_json()["data"]
    return record


def _claim(connection: Connection, job_id: str, run_no: int = 1) -> None:
    wanted = claim.Claim(run=RunKey("ten_test", job_id, run_no), worker_id="wkr_open", node_id=NODE)
    assert claim.claim(connection, wanted)


def _end(connection: Connection, job_id: str, ending: Ending, run_no: int = 1, **rest: Any) -> None:
    line = LogLine(seq=run_no * 2**32 + 5, ts=clock.now(connection), level=LogLevel.INFO, msg="end")
    assert end.end(connection, ended(connection, RunKey("ten_test", job_id, run_no), ending, [line], **rest))


def _types(api: Api) -> list[str]:
    return [row[0].removeprefix("ava.job.") for row in api.execute("SELECT type FROM webhook_events ORDER BY n")]


def _bodies(api: Api) -> list[dict[str, Any]]:
    while FanOut(api.database).run_once():
        pass
    return [json.loads(row[0]) for row in api.execute("SELECT body FROM webhook_events ORDER BY n")]


def test_without_a_subscribed_webhook_no_event_is_stored(api: Api, connection: Connection) -> None:
    _subscribe(api, ["ava.job.failed"])
    _subscribe(api, headers={"x-tenant-id": "ten_other"})
    job = api.trigger()
    _claim(connection, job["id"])
    _end(connection, job["id"], Ending.COMPLETED, output_json="1")
    assert _types(api) == []


def test_a_completed_job_makes_an_event_for_each_transition(api: Api, connection: Connection) -> None:
    _subscribe(api)
    job = api.trigger(input={"a": [1.5, "ü", "\x00"]}, tags={"team": "säfe"})
    _claim(connection, job["id"])
    started = api.get(f"/v1/ava/jobs/{job['id']}").get_json()["data"]
    _end(connection, job["id"], Ending.COMPLETED, output_json='{"b":2}')
    completed = api.get(f"/v1/ava/jobs/{job['id']}").get_json()["data"]
    # The bodies are made only now, but each holds the record of its own moment.
    assert [body["data"] for body in _bodies(api)] == [job, started, completed]
    assert [body["sequence"] for body in _bodies(api)] == [1, 3, 5]
    assert {body["tenant_id"] for body in _bodies(api)} == {"ten_test"}


def test_a_failed_attempt_that_is_retried_makes_no_failed_event(api: Api, connection: Connection) -> None:
    _subscribe(api)
    api.execute("UPDATE workers SET max_retries = 1")
    job = api.trigger()
    _claim(connection, job["id"])
    _end(connection, job["id"], Ending.RETRIED, delay_seconds=0.0)
    api.execute("UPDATE jobs SET waits_for = NULL, run_at = NULL")
    _claim(connection, job["id"], run_no=2)
    _end(connection, job["id"], Ending.FAILED, run_no=2, error="ValueError: no")
    assert _types(api) == ["queued", "started", "queued", "started", "failed"]
    bodies = _bodies(api)
    assert [body["data"]["attempt"] for body in bodies] == [0, 1, 1, 2, 2]
    assert [body["data"]["error"] for body in bodies] == [None] * 4 + ["ValueError: no"]
    sequences = [body["sequence"] for body in bodies]
    assert sequences == sorted(set(sequences))


def test_a_job_cancelled_while_queued_makes_its_events(api: Api) -> None:
    _subscribe(api)
    job = api.trigger()
    record = api.post(f"/v1/ava/jobs/{job['id']}/cancel").get_json()["data"]
    assert _types(api) == ["queued", "cancelled"]
    assert _bodies(api)[-1]["data"] == record


def test_a_bulk_cancel_makes_an_event_for_each_job(api: Api) -> None:
    _subscribe(api, ["ava.job.cancelled"])
    for _ in range(3):
        api.trigger()
    api.post("/v1/ava/jobs/cancel", json={"filter": {"worker_id": "wkr_open"}})
    assert _types(api) == ["cancelled"] * 3


def test_a_killed_run_and_a_run_of_a_dead_node_make_events(api: Api, connection: Connection) -> None:
    _subscribe(api, ["ava.job.failed", "ava.job.queued"])
    killed, orphan = api.trigger(), api.trigger()
    _claim(connection, killed["id"])
    _claim(connection, orphan["id"])
    rescue.end_killed_run(connection, run=RunKey(killed["tenant_id"], killed["id"], 1), error="Timeout: exceeded 1 s")
    api.execute("DELETE FROM nodes")
    rescue.rescue_from_dead_nodes(connection, silent={}, msg="lost", error="WorkerLost: the worker node died", limit=10)
    assert _types(api) == ["queued", "queued", "failed", "queued"]


def test_a_rolled_back_transition_makes_no_event(api: Api) -> None:
    _subscribe(api)
    job = api.trigger()
    with api.database.transaction() as connection:
        assert cancel.cancel(connection, tenant_id="ten_test", user_id="usr_a", job_id=job["id"])
        assert connection.exec_driver_sql("SELECT count(*) FROM webhook_events").scalar() == 2
        connection.rollback()
    assert _types(api) == ["queued"]


def test_each_subscribed_endpoint_gets_a_delivery_and_a_later_one_gets_none(api: Api) -> None:
    first, second = _subscribe(api), _subscribe(api, ["ava.job.queued"])
    _subscribe(api, ["ava.job.failed"])
    api.trigger()
    later = _subscribe(api)
    _bodies(api)
    for endpoint, count in ((first, 1), (second, 1), (later, 0)):
        found = api.get(f"/v1/webhooks/{endpoint['id']}/deliveries").get_json()
        assert found["pagination"]["total"] == count


def test_an_endpoint_of_roots_gets_no_event_of_a_job_that_a_handler_has_made(api: Api, graphs: Graphs) -> None:
    def seen(endpoint: dict[str, Any]) -> list[tuple[str, str]]:
        found = api.get(f"/v1/webhooks/{endpoint['id']}/deliveries").get_json()["data"]
        return [(each["job_ids"][0], each["event_type"].removeprefix("ava.job.")) for each in reversed(found)]

    roots = _subscribe(api)
    changed = api.request("PATCH", f"/v1/webhooks/{roots['id']}", json={"roots_only": True}).get_json()["data"]
    assert (roots["roots_only"], changed["roots_only"]) == (False, True)
    parent = api.trigger()["id"]
    run, claim_id = graphs.start(parent)
    (child,) = graphs.children(parent, claim_id, "one")
    # Without another endpoint the events of the child are not even stored.
    assert api.execute("SELECT count(*) FROM webhook_events") == [(2,)]
    every = _subscribe(api)
    graphs.wait(run, claim_id, child)
    graphs.finish(child)
    graphs.end(*graphs.start(parent))
    _bodies(api)
    # A wait is no event.
    assert seen(roots) == [(parent, "queued"), (parent, "started"), (parent, "completed")]
    assert seen(every) == [(child, "started"), (child, "completed"), (parent, "completed")]


def test_an_event_whose_job_is_gone_is_dropped(api: Api) -> None:
    _subscribe(api)
    api.trigger()
    api.execute("DELETE FROM jobs")
    assert FanOut(api.database).run_once() == 1
    assert FanOut(api.database).run_once() == 0
    assert api.execute("SELECT count(*) FROM webhook_deliveries")[0][0] == 0


def test_large_payloads_are_fanned_out_in_bounded_batches(api: Api) -> None:
    _subscribe(api)
    # Random, so that PostgreSQL cannot compress it.
    content = base64.b64encode(os.urandom(750_000)).decode()
    for _ in range(12):
        api.execute(
            "INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts)"
            " VALUES ('ten_test', 'wkr_open', 'manual', 5, 'default', json_build_object('text', %s::text), 'usr_a', 1)",
            content,
        )
    fan_out, batches = FanOut(api.database), []
    while done := fan_out.run_once():
        batches.append(done)
    assert sum(batches) == 12
    assert len(batches) > 1


@pytest.mark.needs_session(
    because="each session of PostgreSQL reports what it has read by itself, and the test asks two"
)
@pytest.mark.parametrize("is_analyzed", [False, True], ids=["grown since it was analyzed", "analyzed"])
def test_fan_out_reads_only_the_events_it_takes(api: Api, is_analyzed: bool) -> None:
    _subscribe(api, ["ava.job.queued"])
    bulk = {"jobs": [{"worker_id": "wkr_open"}] * 1_000}
    assert api.post("/v1/ava/jobs/bulk", json=bulk).status_code == 201
    # PostgreSQL analyzes while no event waits, and after some executions it keeps a generic plan.
    assert [FanOut(api.database).run_once() for _ in range(6)] == [200, 200, 200, 200, 200, 0]
    api.execute("VACUUM ANALYZE webhook_events")
    assert [FanOut(api.database).run_once() for _ in range(6)] == [0] * 6
    for _ in range(4):
        assert api.post("/v1/ava/jobs/bulk", json=bulk).status_code == 201
    if is_analyzed:
        api.execute("ANALYZE webhook_events")
    before = _new_events_read(api)
    assert FanOut(api.database).run_once() == 200
    assert _new_events_read(api) - before < 1_000


def _new_events_read(api: Api) -> int:
    # A fan-out uses two connections, and each reports what it has read.
    with api.database.connect() as one, api.database.connect() as other:
        for connection in (one, other):
            connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    statement = (
        "SELECT sum(s.idx_tup_read) FROM pg_stat_user_indexes AS s JOIN pg_inherits AS i ON i.inhrelid = s.indexrelid"
        " WHERE i.inhparent = 'webhook_events_turns'::regclass"
    )
    return int(api.execute(statement)[0][0])


def test_events_past_retention_are_deleted_with_their_deliveries(api: Api, connection: Connection) -> None:
    endpoint = _subscribe(api)
    api.trigger()
    _bodies(api)
    assert webhook_events.delete_old(connection, retention_days=1, limit=10) == 0
    api.request("DELETE", f"/v1/webhooks/{endpoint['id']}")
    assert webhook_events.delete_old(connection, retention_days=-1, limit=10) == 2
    assert api.execute("SELECT count(*) FROM webhook_deliveries")[0][0] == 0
    # The rest of a deleted endpoint is deleted with the next events.
    _subscribe(api)
    api.trigger()
    assert webhook_events.delete_old(connection, retention_days=-1, limit=10) == 1
    assert api.execute("SELECT count(*) FROM webhook_endpoints WHERE status = 'deleted'")[0][0] == 0


def test_one_statement_deletes_few_deliveries_however_many_an_event_has(api: Api, connection: Connection) -> None:
    for _ in range(5):
        _subscribe(api)
    api.trigger()
    _bodies(api)
    left = []
    while webhook_events.delete_old(connection, retention_days=-1, limit=2) >= 2:
        left.append(api.execute("SELECT count(*) FROM webhook_deliveries")[0][0])
    assert left == [3, 1, 0]
    assert api.execute("SELECT count(*) FROM webhook_events")[0][0] == 0
