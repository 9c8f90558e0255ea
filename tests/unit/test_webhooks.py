"""The rules of webhooks: bodies, signatures, the retry schedule, endpoint queues, sealing."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from cryptography.fernet import Fernet
from standardwebhooks.webhooks import Webhook

from ava.client import WebhookUnverified
from ava.client.webhooks import verify
from ava.delivery.endpoint_queue import MOST_HELD, EndpointQueue, shared_rooms
from ava.delivery.fan_out import MOST_DELIVERIES, choose
from ava.delivery.send_budget import SendBudget
from ava.domain.events import Event, make_body, make_headers, sign_body
from ava.domain.sealing import Sealer
from ava.domain.webhook import (
    MOST_CONCURRENT,
    RETRY_SCHEDULE_SECONDS,
    DeliveryStatus,
    RequestResult,
    judge,
    next_concurrency,
    pause_seconds,
    retry_after_seconds,
)
from ava.errors import EncryptionKeyMissing, SecretUnreadable
from ava.store.webhooks.endpoint_leases import DueDelivery, HeldLease
from ava.store.webhooks.fan_out import FanOutCandidate

SECRET = "whsec_b2YgdGhlIHRlc3RzIG9mIHdlYmhvb2tz"
OTHER = "whsec_YW5vdGhlciBzZWNyZXQgb2YgdGhlIHRlc3Rz"
EVENT = Event(
    id="evt_01k",
    type="ava.job.completed",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    tenant_id="ten_a",
    sequence=5,
)


def _signed(*secrets: str, body: bytes = b"", at: float | None = None) -> tuple[bytes, dict[str, str]]:
    body = body or make_body(EVENT, {"id": "job_1"}).encode()
    timestamp = int(time.time() if at is None else at)
    return body, make_headers(event_id=EVENT.id, body=body, timestamp=timestamp, secrets=secrets)


def _result(status: int | None = None, **rest: Any) -> RequestResult:
    return RequestResult(status=status, elapsed_ms=1, response_body="", error=None, **rest)


# Bodies and signatures -------------------------------------------------------------------------------------------


def test_a_body_has_the_contract_s_fields_in_order() -> None:
    body = json.loads(make_body(EVENT, {"id": "job_1"}))
    assert list(body) == ["id", "type", "created_at", "tenant_id", "data", "sequence"]
    assert body["created_at"] == "2026-01-01T00:00:00Z"


def test_x_hld_signature_is_the_hmac_of_the_raw_body_keyed_with_the_secret_s_text() -> None:
    body, headers = _signed("any secret at all")
    expected = hmac.new(b"any secret at all", body, hashlib.sha256).hexdigest()
    assert headers["X-HLD-Signature-256"] == f"sha256={expected}"


def test_the_standard_webhooks_library_verifies_our_signature() -> None:
    body, headers = _signed(SECRET)
    assert Webhook(SECRET).verify(body, headers)["id"] == EVENT.id


def test_our_verify_accepts_the_standard_webhooks_library_s_signature() -> None:
    body = b'{"id":"evt_1"}'
    signature = Webhook(SECRET).sign("evt_1", datetime.now(UTC), body.decode())
    headers = {"Webhook-Id": "evt_1", "Webhook-Timestamp": str(int(time.time())), "Webhook-Signature": signature}
    assert verify(body, headers, SECRET) == {"id": "evt_1"}


@pytest.mark.parametrize("known", [SECRET, OTHER])
def test_during_a_rotation_either_secret_verifies(known: str) -> None:
    body, headers = _signed(SECRET, OTHER)
    assert Webhook(known).verify(body, headers)
    assert verify(body, headers, known)
    signatures = {headers["X-HLD-Signature-256"], headers["X-HLD-Signature-256-Previous"]}
    assert sign_body(known, body) in signatures


def test_a_receiver_may_verify_with_several_secrets() -> None:
    body, headers = _signed(SECRET)
    assert verify(body, headers, [OTHER, SECRET])


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "evt_other"},
        {"webhook-id": ""},
        {"webhook-timestamp": "1"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "-5"},
        {"webhook-timestamp": "1" * 30},
        {"webhook-signature": "v1,bm9uc2Vuc2U="},
        {"webhook-signature": "v2,bm9uc2Vuc2U="},
        {"webhook-signature": "v1,ä"},
        {"webhook-signature": ""},
    ],
)
def test_a_changed_header_is_detected(change: dict[str, str]) -> None:
    body, headers = _signed(SECRET)
    with pytest.raises(WebhookUnverified):
        verify(body, headers | change, SECRET)


def test_a_changed_body_is_detected() -> None:
    body, headers = _signed(SECRET)
    with pytest.raises(WebhookUnverified):
        verify(body.replace(b"job_1", b"job_2"), headers, SECRET)


def test_another_secret_does_not_verify() -> None:
    body, headers = _signed(SECRET)
    with pytest.raises(WebhookUnverified):
        verify(body, headers, OTHER)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_timestamp_more_than_five_minutes_off_is_a_replay(seconds: int) -> None:
    body, headers = _signed(SECRET, at=1_000_000)
    with pytest.raises(WebhookUnverified, match="replay"):
        verify(body, headers, SECRET, now=1_000_000 + seconds)
    assert verify(body, headers, SECRET, now=1_000_000 + seconds * 0.99)


def test_an_old_event_in_a_new_request_is_recent() -> None:
    assert EVENT.created_at < datetime.now(UTC) - timedelta(days=1)
    body, headers = _signed(SECRET)
    assert verify(body, headers, SECRET)["created_at"] == "2026-01-01T00:00:00Z"


def test_a_body_whose_id_differs_from_the_header_s_is_refused() -> None:
    body, headers = _signed(SECRET, body=b'{"id":"evt_other"}')
    with pytest.raises(WebhookUnverified):
        verify(body, headers, SECRET)


# The retry schedule ----------------------------------------------------------------------------------------------


def test_the_retry_schedule_is_the_contract_s_and_ends() -> None:
    waits = [judge(_result(500), failures=n, chance=0.5).retry_in_seconds for n in range(5)]
    assert waits == pytest.approx([5, 30, 300, 1800, 7200])
    assert judge(_result(500), failures=5, chance=0.5).status is DeliveryStatus.ABANDONED


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_the_retry_schedule_is_spread_by_a_tenth(chance: float) -> None:
    for failures, seconds in enumerate(RETRY_SCHEDULE_SECONDS):
        wait = judge(_result(), failures=failures, chance=chance).retry_in_seconds
        assert wait is not None
        assert 0.9 * seconds <= wait <= 1.1 * seconds


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_success(status: int) -> None:
    assert judge(_result(status), failures=5, chance=0).status is DeliveryStatus.DELIVERED


@pytest.mark.parametrize("status", [None, 100, 199, 300, 301, 307, 400, 404, 500, 503])
def test_any_other_status_is_retried(status: int | None) -> None:
    assert judge(_result(status), failures=0, chance=0).status is DeliveryStatus.PENDING


def test_410_abandons_a_delivery_at_once() -> None:
    assert judge(_result(410), failures=0, chance=0).status is DeliveryStatus.ABANDONED


def test_retry_after_lengthens_a_wait_and_never_shortens_it() -> None:
    slow, quick = _result(503, retry_after_seconds=60.0), _result(503, retry_after_seconds=1.0)
    assert judge(slow, failures=0, chance=0.5).retry_in_seconds == 60
    assert judge(quick, failures=0, chance=0.5).retry_in_seconds == 5
    assert judge(slow, failures=0, chance=0.5, scale=0.001).retry_in_seconds == 60


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", None),
        ("", None),
        (None, None),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 40, 24 * 3600),
        (format_datetime(datetime(2026, 1, 1, 0, 1, tzinfo=UTC), usegmt=True), 60),
        (format_datetime(datetime(2025, 1, 1, tzinfo=UTC), usegmt=True), None),
    ],
)
def test_both_forms_of_retry_after_are_parsed(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


def test_concurrency_doubles_with_each_success_and_a_timeout_resets_it_to_one() -> None:
    concurrency = 1
    for _ in range(10):
        concurrency = next_concurrency(concurrency, _result(200))
    assert concurrency == MOST_CONCURRENT
    assert next_concurrency(concurrency, _result(500)) == MOST_CONCURRENT
    assert next_concurrency(concurrency, _result(is_timeout=True)) == 1
    assert next_concurrency(concurrency, _result(429, retry_after_seconds=3.0)) == 1


def test_the_pause_of_an_endpoint_that_times_out_grows_up_to_a_minute() -> None:
    assert [pause_seconds(timeouts=n) for n in (0, 1, 2, 3, 50, 900)] == [0, 2, 4, 8, 60, 60]


# Endpoint queues -------------------------------------------------------------------------------------------------


def _queue(concurrency: int = 4, timeouts: int = 0) -> EndpointQueue:
    return EndpointQueue(HeldLease(endpoint="e", tenant_id="ten_a", concurrency=concurrency, timeouts=timeouts))


def _due(name: str, job: str | None = None, **rest: Any) -> DueDelivery:
    return DueDelivery(
        id=name,
        endpoint="e",
        tenant_id=rest.pop("tenant_id", "ten_a"),
        job=job,
        failures=0,
        requests=0,
        event_id="evt",
        body="{}",
        url="",
        sealed_secrets=("s",),
        **rest,
    )


def _names(queue: EndpointQueue) -> list[str]:
    names = []
    while (delivery := queue.next()) is not None:
        names.append(delivery.id)
    return names


def test_a_queue_sends_as_many_as_its_concurrency_in_order() -> None:
    queue = _queue(concurrency=2)
    queue.add([_due("a"), _due("b"), _due("c")])
    assert _names(queue) == ["a", "b"]
    queue.note_result("a", _result(404))
    assert _names(queue) == ["c"]


def test_two_events_of_one_job_are_never_sent_at_the_same_time_and_keep_their_order() -> None:
    queue = _queue()
    queue.add([_due("a1", "a"), _due("a2", "a"), _due("a3", "a"), _due("b1", "b")])
    assert _names(queue) == ["a1", "b1"]
    queue.note_result("a1", _result(200))
    assert _names(queue) == [], "the outcome of the first is not written yet"
    queue.finish("a1")
    assert _names(queue) == ["a2"]
    queue.note_result("a2", _result(200))
    queue.finish("a2")
    assert _names(queue) == ["a3"]


def test_after_a_timeout_the_lease_ends_with_deliveries_still_waiting() -> None:
    queue = _queue(concurrency=1)
    queue.add([_due("a"), _due("b")])
    assert _names(queue) == ["a"]
    queue.note_result("a", _result(is_timeout=True))
    queue.finish("a")
    assert _names(queue) == []
    assert queue.is_idle
    assert queue.end().timeouts == 1
    assert queue.end().pause_seconds == 2


def test_a_success_resets_the_timeouts_of_an_endpoint() -> None:
    queue = _queue(concurrency=1, timeouts=6)
    queue.add([_due("a"), _due("b")])
    assert _names(queue) == ["a"]
    queue.note_result("a", _result(200))
    queue.finish("a")
    assert _names(queue) == ["b"]
    assert queue.end().timeouts == 0
    assert queue.end().pause_seconds == 0


def test_retry_after_pauses_the_whole_endpoint() -> None:
    queue = _queue()
    queue.add([_due(name) for name in "abcdef"])
    assert len(_names(queue)) == 4
    for name in "abcd":
        queue.note_result(name, _result(429, retry_after_seconds=30.0))
        queue.finish(name)
    assert _names(queue) == []
    assert queue.end().pause_seconds == 30


def test_a_delivery_that_does_not_fit_keeps_its_place_and_that_of_its_job() -> None:
    queue = _queue()
    queue.add([_due("a1", "a"), _due("a2", "a"), _due("b1", "b")])
    taken = queue.next(lambda delivery: delivery.id != "a1")
    assert taken is not None
    assert taken.id == "b1"
    assert _names(queue) == ["a1"]


def test_a_delivery_whose_request_could_not_begin_is_the_next_again() -> None:
    queue = _queue(concurrency=1)
    queue.add([_due("a"), _due("b")])
    assert _names(queue) == ["a"]
    queue.put_back("a")
    assert _names(queue) == ["a"]


def _asking(endpoint: str, tenant_id: str, held: int = 0) -> EndpointQueue:
    queue = EndpointQueue(HeldLease(endpoint=endpoint, tenant_id=tenant_id, concurrency=MOST_CONCURRENT, timeouts=0))
    queue.add(_due(f"{endpoint}-{number}") for number in range(held))
    return queue


def test_the_deliveries_in_memory_are_bounded_and_an_endpoint_beside_many_gets_its_own() -> None:
    many = [_asking(f"many-{number}", "ten_many") for number in range(100)]
    one = _asking("one", "ten_one")
    rooms = shared_rooms([*many, one])
    assert sum(rooms.values()) <= MOST_HELD
    assert sum(room for endpoint, room in rooms.items() if endpoint != "one") <= 1_000
    assert rooms["one"] >= 10
    # Even when everything is held, a queue that is empty gets one.
    full = [_asking(f"full-{number}", f"ten_{number}", held=256) for number in range(20)]
    assert shared_rooms([*full, one]) == {"one": 1}


# What requests hold ----------------------------------------------------------------------------------------------


def test_one_tenant_holds_at_most_a_quarter_of_the_connections() -> None:
    budget = SendBudget(connections=100)
    for number in range(25):
        assert budget.has_connection("ten_a")
        budget.take(_due(f"{number}"))
    assert not budget.has_connection("ten_a")
    assert budget.has_connection("ten_b")
    budget.give_back(_due("0"))
    assert budget.has_connection("ten_a")


def test_the_large_bodies_of_one_tenant_leave_memory_for_those_of_others() -> None:
    budget = SendBudget(connections=100, body_bytes=100)
    large = _due("large", bytes_to_read=60)
    assert budget.fits(large), "a tenant without others may send any"
    budget.take(large)
    assert not budget.fits(_due("next", bytes_to_read=1))
    assert budget.fits(_due("small"))
    other = _due("other", tenant_id="ten_b", bytes_to_read=40)
    assert budget.fits(other)
    budget.take(other)
    assert not budget.fits(_due("third", tenant_id="ten_c", bytes_to_read=1)), "the total is bounded too"
    budget.give_back(large)
    assert budget.fits(_due("third", tenant_id="ten_c", bytes_to_read=60))


# The choice of a fan-out's batch ---------------------------------------------------------------------------------


def _candidate(name: str, tenant_id: str, deliveries: int = 1, *, has_more: bool = False) -> FanOutCandidate:
    return FanOutCandidate(id=name, tenant_id=tenant_id, deliveries=deliveries, has_more=has_more, has_body=False)


def test_a_batch_ends_where_its_deliveries_become_too_many() -> None:
    found = [_candidate(f"{number}", f"ten_{number}", 500) for number in range(9)]
    assert sum(each.deliveries for each in choose(found)) == MOST_DELIVERIES
    assert choose([_candidate("one", "ten_a", MOST_DELIVERIES + 1)]), "the first is always chosen"


def test_events_behind_one_that_needs_a_further_batch_wait_and_those_of_others_do_not() -> None:
    found = [_candidate("a1", "ten_a", 500, has_more=True), _candidate("b1", "ten_b")]
    found += [_candidate("a2", "ten_a"), _candidate("b2", "ten_b")]
    assert [each.id for each in choose(found)] == ["a1", "b1", "b2"]


# Sealing ---------------------------------------------------------------------------------------------------------


def _key() -> str:
    return Fernet.generate_key().decode()


def test_encryption_keys_can_be_rotated() -> None:
    old, new = _key(), _key()
    sealed = Sealer([old]).seal("s3cret")
    assert "s3cret" not in sealed
    both = Sealer([new, old])
    assert both.open(sealed) == "s3cret"
    assert Sealer([new]).open(both.reseal(sealed)) == "s3cret"


def test_a_secret_that_no_key_opens_is_unreadable() -> None:
    with pytest.raises(SecretUnreadable, match="AVA_ENCRYPTION_KEY"):
        Sealer([_key()]).open(Sealer([_key()]).seal("s3cret"))


def test_without_a_key_nothing_is_sealed() -> None:
    with pytest.raises(EncryptionKeyMissing):
        Sealer([]).seal("s3cret")


def test_a_retry_after_date_is_bounded() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    header = format_datetime(now + timedelta(days=365), usegmt=True)
    assert retry_after_seconds(header, now) == 24 * 3600
