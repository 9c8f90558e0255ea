"""A process repeats the write of a run's end for five minutes."""

from __future__ import annotations

import pytest

from ava.errors import DatabaseUnavailable
from ava.node.runs import run_writer


class _Clock:
    """A clock that advances only by sleeping."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(run_writer, "time", clock)
    return clock


def _write(clock: _Clock, *, away_seconds: float) -> str:
    def act() -> str:
        if clock.seconds < away_seconds:
            raise DatabaseUnavailable
        return "written"

    return run_writer.persist(act)


def test_an_end_is_written_if_the_database_is_back_within_five_minutes(clock: _Clock) -> None:
    assert _write(clock, away_seconds=299) == "written"
    assert clock.seconds < 301.5


def test_a_write_fails_after_five_minutes(clock: _Clock) -> None:
    with pytest.raises(DatabaseUnavailable):
        _write(clock, away_seconds=310)
    assert 300 <= clock.seconds <= 302
