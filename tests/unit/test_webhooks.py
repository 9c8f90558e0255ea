"""The rules of webhooks: bodies, signatures, the retry schedule, sealing."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from ava.client import WebhookUnverified
from ava.client.webhooks import verify
from ava.domain.delivery import DeliveryStatus
from ava.domain.secrets.sealing import Sealer
from ava.domain.webhooks.webhook import (
    MAX_CONCURRENT,
    RETRY_SCHEDULE_SECONDS,
    RequestResult,
    judge,
    next_concurrency,
    pause_seconds,
    retry_after_seconds,
)
from ava.domain.webhooks.webhook_events import Event, make_body, make_headers, sign_body
from ava.errors import EncryptionKeyMissing, SecretUnreadable

SECRET = "whsec_b2YgdGhlIHRlc3RzIG9mIHdlYmhvb2tz"
OTHER = "whsec_YW5vdGhlciBzZWNyZXQgb2YgdGhlIHRlc3Rz"
EVENT = Event(
    id="evt_01k", type="ava.job.completed", created_at=datetime(2026, 1, 1, tzinfo=UTC), tenant_id="ten_a", sequence=5
)
BODY = make_body(EVENT, {"id": "job_1"}).encode()


def _signed(*secrets: str, body: bytes = BODY, at: float | None = None) -> tuple[bytes, dict[str, str]]:
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
    now = datetime.now(UTC)
    signature = Webhook(SECRET).sign("evt_1", now, body.decode())
    headers = {"Webhook-Id": "evt_1", "Webhook-Timestamp": str(int(now.timestamp())), "Webhook-Signature": signature}
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
    ("change", "body", "secret"),
    [
        ({"webhook-id": "evt_other"}, BODY, SECRET),
        ({"webhook-id": ""}, BODY, SECRET),
        ({"webhook-timestamp": "1"}, BODY, SECRET),
        ({"webhook-timestamp": "soon"}, BODY, SECRET),
        ({"webhook-timestamp": "-5"}, BODY, SECRET),
        ({"webhook-timestamp": "1" * 30}, BODY, SECRET),
        ({"webhook-signature": "v1,bm9uc2Vuc2U="}, BODY, SECRET),
        ({"webhook-signature": "v2,bm9uc2Vuc2U="}, BODY, SECRET),
        ({"webhook-signature": "v1,ä"}, BODY, SECRET),
        ({"webhook-signature": ""}, BODY, SECRET),
        ({}, BODY.replace(b"job_1", b"job_2"), SECRET),
        ({}, BODY, OTHER),
    ],
)
def test_a_changed_header_or_body_and_another_secret_are_detected(
    change: dict[str, str], body: bytes, secret: str
) -> None:
    _, headers = _signed(SECRET)
    with pytest.raises(WebhookUnverified):
        verify(body, headers | change, secret)


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
    waits = [judge(_result(500), failures=n, draw=0.5).retry_in_seconds for n in range(5)]
    assert waits == pytest.approx([5, 30, 300, 1800, 7200])
    assert judge(_result(500), failures=5, draw=0.5).status is DeliveryStatus.ABANDONED


@pytest.mark.parametrize("draw", [0.0, 0.3, 1.0])
def test_the_retry_schedule_is_spread_by_a_tenth(draw: float) -> None:
    for failures, seconds in enumerate(RETRY_SCHEDULE_SECONDS):
        wait = judge(_result(), failures=failures, draw=draw).retry_in_seconds
        assert wait is not None
        assert 0.9 * seconds <= wait <= 1.1 * seconds


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_success(status: int) -> None:
    assert judge(_result(status), failures=5, draw=0).status is DeliveryStatus.DELIVERED


@pytest.mark.parametrize("status", [None, 100, 199, 300, 301, 307, 400, 404, 500, 503])
def test_any_other_status_is_retried(status: int | None) -> None:
    assert judge(_result(status), failures=0, draw=0).status is DeliveryStatus.PENDING


def test_410_abandons_a_delivery_at_once() -> None:
    assert judge(_result(410), failures=0, draw=0).status is DeliveryStatus.ABANDONED


def test_retry_after_lengthens_a_wait_and_never_shortens_it() -> None:
    slow, quick = _result(503, retry_after_seconds=60.0), _result(503, retry_after_seconds=1.0)
    assert judge(slow, failures=0, draw=0.5).retry_in_seconds == 60
    assert judge(quick, failures=0, draw=0.5).retry_in_seconds == 5
    assert judge(slow, failures=0, draw=0.5, scale=0.001).retry_in_seconds == 60


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
        ("Fri, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Fri, 01 Jan 2027 00:00:00 +99999999999999", None),
        ("Fri, 99999999999 Jan 2027 00:00:00 GMT", None),
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
    assert concurrency == MAX_CONCURRENT
    assert next_concurrency(concurrency, _result(500)) == MAX_CONCURRENT
    assert next_concurrency(concurrency, _result(is_timeout=True)) == 1
    assert next_concurrency(concurrency, _result(429, retry_after_seconds=3.0)) == 1


def test_the_pause_of_an_endpoint_that_times_out_grows_up_to_a_minute() -> None:
    assert [pause_seconds(timeouts=n) for n in (0, 1, 2, 3, 50, 900)] == [0, 2, 4, 8, 60, 60]


# Sealing ---------------------------------------------------------------------------------------------------------


def test_encryption_keys_can_be_rotated() -> None:
    old, new = os.urandom(32), os.urandom(32)
    sealed = Sealer([old]).seal("s3cret")
    assert "s3cret" not in sealed
    both = Sealer([new, old])
    assert both.open(sealed) == "s3cret"
    assert Sealer([new]).open(both.reseal(sealed)) == "s3cret"


def test_a_secret_that_no_key_opens_is_unreadable() -> None:
    with pytest.raises(SecretUnreadable, match="AVA_ENCRYPTION_KEY"):
        Sealer([os.urandom(32)]).open(Sealer([os.urandom(32)]).seal("s3cret"))


def test_without_a_key_nothing_is_sealed() -> None:
    with pytest.raises(EncryptionKeyMissing):
        Sealer([]).seal("s3cret")


@pytest.mark.parametrize("year", ["99999999999999999999", "999999999", "-1"])
def test_a_retry_after_date_beyond_all_years_is_no_date(year: str) -> None:
    header = f"Thu, 01 Jan {year} 00:00:00 GMT"
    assert retry_after_seconds(header, datetime(2026, 1, 1, tzinfo=UTC)) is None


def test_a_retry_after_date_is_bounded() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    header = format_datetime(now + timedelta(days=365), usegmt=True)
    assert retry_after_seconds(header, now) == 24 * 3600
