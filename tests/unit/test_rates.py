"""Rates: how many jobs may start in a span of time, wherever it begins."""

from __future__ import annotations

import bisect
import random
from datetime import UTC, datetime, timedelta

import pytest

from ava.domain.limits import rates
from ava.domain.limits.rates import Rate, RateState

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def _starts(rate: Rate, *, spans: float, latest: float) -> list[float]:
    """Returns the moments of all starts, if each look comes up to `latest` seconds late."""
    rng, now, state, starts = random.Random(7), 0.0, RateState(now=BEGAN, next_at=BEGAN - timedelta(days=1)), []
    while now < spans * rate.seconds:
        timestamp = BEGAN + timedelta(seconds=now)
        count, state = rate.admit(RateState(now=timestamp, next_at=state.next_at), 10)
        starts += [now] * count
        now += max(state.wait_seconds, 0.001) + rng.random() * latest
    return starts


@pytest.mark.parametrize("string", ["1/second", "5/second", "5/minute", "100/minute", "1000/hour", "300/10 seconds"])
@pytest.mark.parametrize("late", [0.0, 0.005])
def test_no_span_sees_more_starts_than_the_rate_and_nearly_all_of_it_is_used(string: str, late: float) -> None:
    rate = rates.parse(string)
    starts = _starts(rate, spans=4, latest=late * rate.seconds)
    most = max(bisect.bisect_left(starts, at + rate.seconds) - number for number, at in enumerate(starts))
    assert most <= rate.jobs
    assert len(starts) >= 0.97 * 4 * rate.jobs - 1


def test_an_idle_key_saves_no_starts() -> None:
    rate = rates.parse("60/minute")
    count, _ = rate.admit(RateState(now=BEGAN, next_at=BEGAN - timedelta(days=1)), 100)
    assert count == 1


@pytest.mark.parametrize(
    "string", ["", "100", "0/minute", "-1/minute", "1.5/second", "100/fortnight", "100/0 seconds", "x"]
)
def test_what_is_no_rate_is_refused(string: str) -> None:
    with pytest.raises(ValueError, match="100/minute"):
        rates.parse(string)


def test_a_rate_is_written_as_it_is_read() -> None:
    assert [str(rates.parse(string)) for string in ("100/minute", "5/10 seconds", "1/day")] == [
        "100/minute",
        "5/10 seconds",
        "1/day",
    ]
