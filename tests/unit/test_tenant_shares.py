"""What a tenant has in use at once is bounded, and a tenant waits for itself alone."""

from __future__ import annotations

import threading

import pytest

from ava import settings
from ava.api.gate.tenant_shares import TenantShares, make_shares
from ava.domain.limits.table import LARGE_BODY_BYTES
from ava.errors import TooMany
from harness.polling import wait_until


def _shares(most: int | None, wait_seconds: float = 0.0) -> TenantShares:
    return TenantShares(LARGE_BODY_BYTES, most, wait_seconds=wait_seconds)


def test_a_share_beyond_the_limit_is_refused_by_name_with_the_seconds_to_wait() -> None:
    shares = _shares(10)
    shares.acquire("ten_a", 8)
    with pytest.raises(TooMany, match=r"10 bytes at the same time.* \(limit large_body_bytes\)") as refused:
        shares.acquire("ten_a", 3)
    assert (refused.value.status, refused.value.retry_after_seconds) == (429, 1)
    shares.acquire("ten_a", 2)
    assert shares.used("ten_a") == 10


def test_a_refusal_says_what_there_is_too_much_of() -> None:
    environ = {
        "DATABASE_URL": "postgresql://u@h/d", "BROKER_URL": "redis://h", "AVA_TENANT_MAX_STREAMS": "1",
        "AVA_TENANT_MAX_WAITS": "2000",
    }  # fmt: skip
    shares = make_shares(settings.load(environ))
    start, rest = "This API process already handles", "at the same time; try again shortly."
    for each, said in {
        shares.large_requests: f"{start} 1 large request {rest} (limit large_requests)",
        shares.large_bodies: f"{start} 16,777,216 bytes {rest} (limit large_body_bytes)",
        shares.streams: f"{start} 1 stream {rest} (limit tenant_streams)",
        shares.waits: f"{start} 2,000 waits {rest} (limit tenant_waits)",
    }.items():
        assert str(each._refusal()) == said


def test_another_tenant_has_shares_of_its_own() -> None:
    shares = _shares(1)
    with shares.take("ten_a"), shares.take("ten_b"):
        assert (shares.used("ten_a"), shares.used("ten_b")) == (1, 1)
    assert (shares.used("ten_a"), shares.used("ten_b")) == (0, 0)


def test_one_that_is_larger_than_the_limit_is_given_alone() -> None:
    shares = _shares(1)
    with shares.take("ten_a", 5), pytest.raises(TooMany):
        shares.acquire("ten_a")


def test_a_call_waits_for_its_turn() -> None:
    shares = _shares(1, wait_seconds=30)
    shares.acquire("ten_a")
    waiting = threading.Thread(target=shares.acquire, args=("ten_a",))
    waiting.start()
    wait_until(lambda: shares._waiting == {"ten_a": 1})
    shares.release("ten_a")
    waiting.join(10)
    assert (shares.used("ten_a"), shares._waiting) == (1, {})


def test_the_calls_of_a_tenant_that_wait_are_bounded() -> None:
    shares = _shares(1, wait_seconds=30)
    shares.acquire("ten_a")
    waiting = [threading.Thread(target=shares.acquire, args=("ten_a",)) for _ in range(32)]
    for thread in waiting:
        thread.start()
    wait_until(lambda: shares._waiting == {"ten_a": 32})
    with pytest.raises(TooMany):
        shares.acquire("ten_a")
    for _ in waiting:
        shares.release("ten_a")
        wait_until(lambda: shares.used("ten_a") == 1)
    for thread in waiting:
        thread.join(10)


def test_without_a_limit_everything_is_given() -> None:
    shares = _shares(None)
    shares.acquire("ten_a", 2**40)
    shares.acquire("ten_a", 2**40)
