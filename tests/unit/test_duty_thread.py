"""A duty that rests: slow calls that change nothing become rare, so that they take a tenth of the time."""

from __future__ import annotations

import threading

import pytest

from ava.dispatcher import loop
from ava.dispatcher.duty import Duty
from ava.dispatcher.loop import DutyThread


class _Slow(Duty):
    name = "slow"
    changes = "changes"
    every_seconds = 1.0

    def __init__(self, clock: list[float]) -> None:
        super().__init__()
        self._clock = clock
        #: The seconds of the next call, and what it returns.
        self.seconds, self.count = 0.0, 0

    def run_once(self, now: float) -> int:
        self._clock[0] = now + self.seconds
        return self.count


@pytest.mark.parametrize(
    ("max_rest_seconds", "calls", "due"),
    [
        pytest.param(10.0, [(0.01, 0), (0.01, 0)], 1.0, id="quick"),
        pytest.param(10.0, [(0.5, 0), (0.4, 0)], 3.6, id="slow"),
        pytest.param(10.0, [(0.01, 0), (5.0, 0)], 1.0, id="slow by chance"),
        pytest.param(10.0, [(5.0, 0), (5.0, 0)], 10.0, id="very slow"),
        pytest.param(10.0, [(0.5, 0), (0.5, 7)], 1.0, id="busy"),
        pytest.param(0.0, [(0.5, 0), (0.5, 0)], 1.0, id="without a rest"),
    ],
)
def test_a_duty_rests_after_calls_that_were_slow_and_changed_nothing(
    monkeypatch: pytest.MonkeyPatch, max_rest_seconds: float, calls: list[tuple[float, int]], due: float
) -> None:
    clock = [100.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    duty = _Slow(clock)
    duty.max_rest_seconds = max_rest_seconds
    thread = DutyThread(duty, threading.Event(), threading.Event())
    for duty.seconds, duty.count in calls:
        found = thread.run_duty()
    assert found == pytest.approx(due)
