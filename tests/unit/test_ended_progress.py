"""How far ends are counted: never past a number whose transaction may be under way, whatever the clock shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ava.store.reports.ended import Progress, Sight

_THEN = datetime(2026, 1, 1, tzinfo=UTC)
_NOW = _THEN + timedelta(seconds=1)
#: Ends up to 10 are counted; 15 was the last number when transaction 100 had not begun.
_AT_MARK = Progress(counted_to=10, counted_until=_THEN, high_water_no=15, high_water_before=100, high_water_at=_THEN)


def _advanced(progress: Progress, *, oldest: int, own: int, last_no: int = 20, limit: int = 100) -> Progress:
    return progress.advanced(Sight(oldest=oldest, own=own), last_no=last_no, now=_NOW, limit=limit)


def test_a_transaction_that_may_have_a_number_up_to_the_mark_holds_the_count_back() -> None:
    assert _advanced(_AT_MARK, oldest=99, own=120) == _AT_MARK


def test_when_they_are_over_the_count_goes_to_the_mark_and_sets_the_next_one() -> None:
    assert _advanced(_AT_MARK, oldest=100, own=120) == Progress(
        counted_to=15, counted_until=_THEN, high_water_no=20, high_water_before=120, high_water_at=_NOW
    )


def test_a_mark_that_is_far_ahead_is_reached_in_batches_and_stays_until_then() -> None:
    first = _advanced(_AT_MARK, oldest=100, own=120, limit=3)
    assert (first.counted_to, first.high_water_no, first.high_water_before) == (13, 15, 100)
    assert _advanced(first, oldest=100, own=120, limit=3).counted_to == 15


def test_nothing_to_count_moves_the_time_and_needs_no_transaction_to_be_over() -> None:
    idle = Progress(counted_to=15, counted_until=_THEN, high_water_no=15, high_water_before=100, high_water_at=_NOW)
    assert _advanced(idle, oldest=50, own=120, last_no=15) == Progress(
        counted_to=15, counted_until=_NOW, high_water_no=15, high_water_before=120, high_water_at=_NOW
    )


def test_a_mark_of_another_server_is_of_transactions_that_are_over() -> None:
    restored = Progress(
        counted_to=10, counted_until=_THEN, high_water_no=15, high_water_before=1_000_000, high_water_at=_THEN
    )
    assert _advanced(restored, oldest=100, own=120).counted_to == 15


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_step_of_the_clock_changes_no_number(seconds: int) -> None:
    stepped = _AT_MARK.advanced(
        Sight(oldest=100, own=120), last_no=20, now=_THEN + timedelta(seconds=seconds), limit=100
    )
    assert (stepped.counted_to, stepped.high_water_no) == (15, 20)
