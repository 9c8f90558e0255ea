"""Endpoint leases: one sender for each endpoint, nothing lost with a sender, nothing counted twice."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ava.domain.delivery import DeliveryStatus
from ava.domain.secrets.sealing import Sealer
from ava.domain.webhooks.webhook import EndpointHealth, RequestResult, describe_request, judge
from ava.errors import DatabaseUnavailable
from ava.services import deliveries
from ava.services.sealed_secrets import reseal_all
from ava.settings import Settings
from ava.store.engine.database import Connection, Database
from ava.store.webhooks import endpoint_leases, outcomes
from ava.store.webhooks.endpoint_leases import DueDelivery, LeaseRelease
from ava.store.webhooks.outcomes import DeliveryOutcome
from harness.api import Api
from harness.commit_cuts import QUICK, CommitCuts
from harness.polling import wait_until

ONE, OTHER = str(uuid.uuid4()), str(uuid.uuid4())


@pytest.fixture
def connection(api: Api) -> Iterator[Connection]:
    with api.database.connect() as connection:
        for sender in (ONE, OTHER):
            endpoint_leases.heartbeat(connection, sender_id=sender, host="h", pid=1, dead_after_seconds=60, held=[])
        yield connection


def _endpoint(api: Api) -> str:
    body = {"url": "https://example.com/", "events": ["ava.job.failed"], "secret": "s3cret-of-the-tests"}
    webhook_id: str = api.post("/v1/webhooks", json=body).get_json()["data"]["id"]
    return webhook_id


def _take(connection: Connection, sender: str) -> list[str]:
    return [
        held.endpoint
        for held in endpoint_leases.acquire(connection, sender_id=sender, health=EndpointHealth.UNKNOWN, limit=10)
    ]


def _due(connection: Connection, sender: str, endpoint: str, busy: tuple[str, ...] = ()) -> list[DueDelivery]:
    return endpoint_leases.due_deliveries(connection, sender_id=sender, capacities={endpoint: 10}, in_flight=busy)


def _outcome(delivery: DueDelivery, status: int) -> DeliveryOutcome:
    result = RequestResult(status=status, elapsed_ms=1, response_body="", error=None)
    verdict = judge(result, failures=delivery.failures, draw=0.5)
    return DeliveryOutcome(
        delivery=delivery.id,
        tenant_id=delivery.tenant_id,
        failures=delivery.failures,
        due_at=delivery.due_at,
        status=verdict.status,
        retry_in_seconds=verdict.retry_in_seconds,
        is_gone=result.is_gone,
        entry=describe_request(result, datetime.now(UTC), delivery.requests + 1),
    )


def _release(connection: Connection, sender: str, endpoint: str, pause: float = 0.0) -> None:
    end = LeaseRelease(endpoint=endpoint, concurrency=2, timeouts=0, pause_seconds=pause)
    endpoint_leases.release(connection, sender_id=sender, leases=[end])


def _row(api: Api, columns: str, table: str = "webhook_deliveries") -> Any:
    return api.execute(f"SELECT {columns} FROM {table}")[0]


def test_one_sender_holds_an_endpoint_until_it_releases_the_lease(api: Api, connection: Connection) -> None:
    webhook_id = _endpoint(api)
    assert _take(connection, ONE) == []
    api.post(f"/v1/webhooks/{webhook_id}/test")
    (endpoint,) = _take(connection, ONE)
    api.post(f"/v1/webhooks/{webhook_id}/test")
    assert _take(connection, OTHER) == []
    assert _due(connection, OTHER, endpoint) == []
    first, second = _due(connection, ONE, endpoint)
    assert _due(connection, ONE, endpoint, busy=(first.id,)) == [second]
    _release(connection, ONE, endpoint)
    assert _take(connection, OTHER) == [endpoint]


def test_a_released_lease_is_due_when_its_next_delivery_is(api: Api, connection: Connection) -> None:
    webhook_id = _endpoint(api)
    api.post(f"/v1/webhooks/{webhook_id}/test")
    (endpoint,) = _take(connection, ONE)
    (delivery,) = _due(connection, ONE, endpoint)
    outcomes.record(connection, [_outcome(delivery, 500)])
    _release(connection, ONE, endpoint)
    assert _take(connection, ONE) == []
    assert _row(api, "due_at", "webhook_lanes") == _row(api, "due_at")
    api.execute("UPDATE webhook_lanes SET due_at = now()")
    assert _take(connection, ONE) == [endpoint]
    _release(connection, ONE, endpoint, pause=60)
    assert _row(api, "due_at = not_before AND not_before > now() + interval '50 s'", "webhook_lanes")[0]


def test_leases_of_a_dead_sender_are_freed_and_its_failure_counts_once(api: Api, connection: Connection) -> None:
    webhook_id = _endpoint(api)
    api.post(f"/v1/webhooks/{webhook_id}/test")
    (endpoint,) = _take(connection, ONE)
    (before,) = _due(connection, ONE, endpoint)
    api.execute("UPDATE webhook_senders SET seen_at = now() - interval '1 hour' WHERE id = %s::uuid", ONE)
    assert endpoint_leases.heartbeat(connection, sender_id=OTHER, host="h", pid=1, dead_after_seconds=60, held=[]) == 1
    assert _take(connection, OTHER) == [endpoint]
    assert _due(connection, ONE, endpoint) == []
    (again,) = _due(connection, OTHER, endpoint)
    outcomes.record(connection, [_outcome(again, 500)])
    # It was only slow, and writes its own failure too; then a success, which counts from any sender.
    outcomes.record(connection, [_outcome(before, 500)])
    assert _row(api, "failures, jsonb_array_length(history)") == (1, 1)
    outcomes.record(connection, [_outcome(before, 200)])
    assert _row(api, "status, jsonb_array_length(history)") == ("delivered", 2)


@pytest.mark.parametrize("seconds", [QUICK, 1.0])
def test_a_lease_whose_acquisition_lost_its_response_is_freed_by_the_next_heartbeat(
    api: Api, api_settings: Settings, connection: Connection, seconds: float
) -> None:
    webhook_id = _endpoint(api)
    api.post(f"/v1/webhooks/{webhook_id}/test")
    cuts = CommitCuts(api_settings.database_url, commit_seconds=(seconds,))
    database = Database(cuts.url, name="tests")
    with pytest.raises(DatabaseUnavailable), database.connect() as cut:
        _take(cut, ONE)
    wait_until(lambda: _row(api, "sender_id::text", "webhook_lanes") == (ONE,), what="the lease is committed")
    database.close()
    cuts.close()
    assert _take(connection, ONE) == []
    (endpoint,) = _row(api, "endpoint_id::text", "webhook_lanes")
    known = {"sender_id": ONE, "host": "h", "pid": 1, "dead_after_seconds": 60}
    assert endpoint_leases.heartbeat(connection, **known, held=[endpoint]) == 0
    assert endpoint_leases.heartbeat(connection, **known, held=[]) == 1
    assert _take(connection, ONE) == [endpoint]


def test_a_pending_delivery_that_is_redelivered_is_due_now(api: Api, connection: Connection) -> None:
    webhook_id = _endpoint(api)
    delivery = api.post(f"/v1/webhooks/{webhook_id}/test").get_json()["data"]
    (endpoint,) = _take(connection, ONE)
    (due,) = _due(connection, ONE, endpoint)
    outcomes.record(connection, [_outcome(due, 500)])
    _release(connection, ONE, endpoint)
    assert _take(connection, ONE) == []
    again = api.post(f"/v1/webhooks/{webhook_id}/deliveries/{delivery['id']}/redeliver").get_json()["data"]
    assert again["status"] == "pending"
    assert _take(connection, ONE) == [endpoint]
    (due,) = _due(connection, ONE, endpoint)
    # A failure that was under way still counts.
    assert (due.failures, due.requests) == (1, 1)


@pytest.mark.parametrize(("status", "failures"), [(200, 0), (500, 1)])
def test_a_redelivery_that_is_asked_during_a_request_is_sent_after_it(
    api: Api, connection: Connection, status: int, failures: int
) -> None:
    webhook_id = _endpoint(api)
    delivery = api.post(f"/v1/webhooks/{webhook_id}/test").get_json()["data"]
    (endpoint,) = _take(connection, ONE)
    (under_way,) = _due(connection, ONE, endpoint)
    assert api.post(f"/v1/webhooks/{webhook_id}/deliveries/{delivery['id']}/redeliver").status_code == 202
    outcomes.record(connection, [_outcome(under_way, status)])
    _release(connection, ONE, endpoint)
    assert _take(connection, ONE) == [endpoint]
    (again,) = _due(connection, ONE, endpoint)
    assert (again.id, again.failures, again.requests) == (under_way.id, failures, 1)
    # Once: that request was asked for, and no other.
    outcomes.record(connection, [_outcome(again, 200)])
    assert _row(api, "status, jsonb_array_length(history)") == ("delivered", 2)
    assert _due(connection, ONE, endpoint) == []


def test_a_redelivery_during_the_last_request_begins_the_schedule_again(api: Api, connection: Connection) -> None:
    webhook_id = _endpoint(api)
    delivery = api.post(f"/v1/webhooks/{webhook_id}/test").get_json()["data"]
    api.execute("UPDATE webhook_deliveries SET failures = 5")
    (endpoint,) = _take(connection, ONE)
    (under_way,) = _due(connection, ONE, endpoint)
    api.post(f"/v1/webhooks/{webhook_id}/deliveries/{delivery['id']}/redeliver")
    outcomes.record(connection, [_outcome(under_way, 500)])
    assert _row(api, "status, failures, due_at <= now()") == ("pending", 0, True)
    # The endpoint has failed for the whole schedule all the same.
    assert _row(api, "status", "webhook_endpoints") == ("degraded",)


def test_failed_deliveries_are_sent_again_in_batches(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "_BATCH", 2)
    webhook_id = _endpoint(api)
    api.post(f"/v1/webhooks/{webhook_id}/test")
    # A time range has milliseconds.
    time.sleep(0.002)
    since, *_ = [api.post(f"/v1/webhooks/{webhook_id}/test").get_json()["data"]["created_at"] for _ in range(4)]
    abandon = "UPDATE webhook_deliveries SET status = 'abandoned', due_at = NULL, completed_at = now(), failures = 6"
    api.execute(abandon)
    path = f"/v1/webhooks/{webhook_id}/deliveries/redeliver"
    assert api.post(path, json={"since": since}).get_json()["data"] == {"total": 4}
    assert api.execute("SELECT status, count(*) FROM webhook_deliveries GROUP BY 1 ORDER BY 1") == [
        ("abandoned", 1), ("pending", 4),
    ]  # fmt: skip


def test_a_410_after_the_last_retry_pauses_the_endpoint(api: Api, connection: Connection) -> None:
    webhook_id = _endpoint(api)
    api.post(f"/v1/webhooks/{webhook_id}/test")
    (endpoint,) = _take(connection, ONE)
    for status in (500, 500, 500, 500, 500, 410):
        (due,) = _due(connection, ONE, endpoint)
        outcomes.record(connection, [_outcome(due, status)])
        api.execute("UPDATE webhook_deliveries SET due_at = now() WHERE status = 'pending'")
    assert _row(api, "status, failures") == ("abandoned", 6)
    shown = api.get(f"/v1/webhooks/{webhook_id}").get_json()["data"]
    assert (shown["status"], shown["paused"]["reason"]) == ("degraded", "The endpoint responded 410 (Gone).")
    assert shown["paused"]["by"] == {"id": None, "kind": "system", "via": None, "label": None}


def test_a_410_keeps_the_pause_of_a_client(api: Api, connection: Connection) -> None:
    webhook_id = _endpoint(api)
    api.post(f"/v1/webhooks/{webhook_id}/test")
    (endpoint,) = _take(connection, ONE)
    (due,) = _due(connection, ONE, endpoint)
    pause = api.post(f"/v1/webhooks/{webhook_id}/pause", json={"reason": "moving"}).get_json()["data"]["paused"]
    # The request was sent before the pause.
    outcomes.record(connection, [_outcome(due, 410)])
    shown = api.get(f"/v1/webhooks/{webhook_id}").get_json()["data"]
    assert (shown["status"], shown["paused"]) == ("degraded", pause)


def test_deliveries_to_a_paused_endpoint_wait_until_it_is_resumed(api: Api, connection: Connection) -> None:
    webhook_id = _endpoint(api)
    api.post(f"/v1/webhooks/{webhook_id}/test")
    api.post(f"/v1/webhooks/{webhook_id}/pause")
    (endpoint,) = _take(connection, ONE)
    assert _due(connection, ONE, endpoint) == []
    _release(connection, ONE, endpoint)
    assert _take(connection, ONE) == []
    api.post(f"/v1/webhooks/{webhook_id}/resume")
    assert _take(connection, ONE) == [endpoint]
    assert len(_due(connection, ONE, endpoint)) == 1


def test_leases_are_acquired_by_the_health_of_their_endpoints(api: Api, connection: Connection) -> None:
    for concurrency, timeouts in ((4, 0), (1, 3), (1, 0)):
        api.post(f"/v1/webhooks/{_endpoint(api)}/test")
        api.execute(
            "UPDATE webhook_lanes SET width = %s, timeouts = %s WHERE width = 1 AND timeouts = 0", concurrency, timeouts
        )
    for health, concurrency, timeouts in (
        (EndpointHealth.SILENT, 1, 3),
        (EndpointHealth.ANSWERING, 4, 0),
        (EndpointHealth.UNKNOWN, 1, 0),
    ):
        (held,) = endpoint_leases.acquire(connection, sender_id=ONE, health=health, limit=10)
        assert (held.concurrency, held.timeouts) == (concurrency, timeouts)


def test_failed_deliveries_come_first(api: Api, connection: Connection) -> None:
    webhook_id = _endpoint(api)
    made = [api.post(f"/v1/webhooks/{webhook_id}/test").get_json()["data"]["event_id"] for _ in range(3)]
    (endpoint,) = _take(connection, ONE)
    assert [delivery.event_id for delivery in _due(connection, ONE, endpoint)] == made
    last = _due(connection, ONE, endpoint)[2]
    outcomes.record(connection, [_outcome(last, 500)])
    api.execute("UPDATE webhook_deliveries SET due_at = now() WHERE failures = 1")
    assert [delivery.event_id for delivery in _due(connection, ONE, endpoint)] == [made[2], made[0], made[1]]


def test_the_history_keeps_the_last_fifty_requests(api: Api, connection: Connection) -> None:
    webhook_id = _endpoint(api)
    delivery = api.post(f"/v1/webhooks/{webhook_id}/test").get_json()["data"]
    (endpoint,) = _take(connection, ONE)
    for _ in range(52):
        (due,) = _due(connection, ONE, endpoint)
        outcomes.record(connection, [_outcome(due, 200)])
        api.post(f"/v1/webhooks/{webhook_id}/deliveries/{delivery['id']}/redeliver")
    (listed,) = api.get(f"/v1/webhooks/{webhook_id}/deliveries").get_json()["data"]
    assert len(listed["attempts"]) == 50
    assert listed["status"] == DeliveryStatus.PENDING


def test_secrets_are_sealed_with_the_new_key_so_that_the_old_one_can_be_removed(
    api: Api, api_settings: Settings
) -> None:
    webhook_id = _endpoint(api)
    api.request("PATCH", f"/v1/webhooks/{webhook_id}", json={"secret": "another-of-the-tests"})
    key = os.urandom(32)
    assert reseal_all(api.database, [key, *api_settings.encryption_keys]) == (1, 0)
    present, previous = _row(api, "secret, previous_secret", "webhook_endpoints")
    assert (Sealer([key]).open(present), Sealer([key]).open(previous)) == (
        "another-of-the-tests",
        "s3cret-of-the-tests",
    )
