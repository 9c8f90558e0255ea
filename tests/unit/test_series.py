"""Points of charts: their steps, and percentiles of counts by bucket."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ava.domain.series import HOURS_KEPT, grid, percentiles

_NOW = datetime(2026, 12, 1, 12, 34, 56, tzinfo=UTC)
_BOUNDS = (0.1, 1.0, 10.0)


@pytest.mark.parametrize(
    ("seconds", "step", "count"),
    [(900, 60, 16), (3_600, 60, 61), (86_400, 300, 289), (172_800, 600, 289), (30 * 86_400, 7_200, 361)],
)
def test_a_range_has_the_smallest_step_with_at_most_360_points(seconds: int, step: int, count: int) -> None:
    found = grid(_NOW - timedelta(seconds=seconds), _NOW, _NOW)
    assert (found.step_seconds, found.count) == (step, count)
    assert found.since.timestamp() % step == 0
    assert found.since <= _NOW - timedelta(seconds=seconds) < found.since + timedelta(seconds=step)
    assert found.until - timedelta(seconds=step) < _NOW <= found.until
    assert found.starts[-1] + timedelta(seconds=step) == found.until
    assert [found.index(start) for start in found.starts] == list(range(count))


def test_points_older_than_two_days_are_of_at_least_an_hour() -> None:
    old = _NOW - timedelta(days=10)
    found = grid(old, old + timedelta(minutes=30), _NOW)
    assert (found.is_hourly, found.step_seconds, found.count) == (True, 3_600, 2)
    assert not grid(_NOW - timedelta(hours=47), _NOW, _NOW).is_hourly


def test_a_range_ends_now_and_begins_within_the_retention() -> None:
    found = grid(_NOW - timedelta(days=400), _NOW + timedelta(days=3), _NOW)
    assert found.since >= _NOW - HOURS_KEPT - timedelta(days=1)
    assert found.until < _NOW + timedelta(days=1)
    assert grid(_NOW + timedelta(days=3), _NOW + timedelta(days=4), _NOW).count >= 1


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ((0, 0, 0, 0), [None, None, None]),
        ((100, 0, 0, 0), [50.0, 95.0, 99.0]),
        ((0, 100, 0, 0), [316.2, 891.3, 977.2]),
        ((90, 0, 10, 0), [55.6, 3162.3, 7943.3]),
        ((0, 0, 0, 7), [10_000.0, 10_000.0, 10_000.0]),
    ],
)
def test_a_percentile_is_interpolated_within_its_bucket(jobs: tuple[int, ...], expected: list[float | None]) -> None:
    assert percentiles(jobs, _BOUNDS) == expected
