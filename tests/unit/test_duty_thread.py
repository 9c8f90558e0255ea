"""How duties are repeated: a slow one that changes nothing rests, and only some run on a dispatcher that stands by."""

from __future__ import annotations

import threading
from typing import cast

import pytest

from ava.dispatcher import loop
from ava.dispatcher.loop import Duty, DutyLoop, DutyThread
from ava.store.engine.leader_lease import LeaderLease
from harness.polling import wait_until


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

    def run_once(now: float) -> int:
        seconds, count = calls.pop(0)
        clock[0] = now + seconds
        return count

    duty = Duty("slow", 1.0, "changes", run_once, max_rest_seconds=max_rest_seconds)
    thread = DutyThread(duty, threading.Event(), threading.Event())
    found = [thread.run_duty() for _ in range(len(calls))]
    assert found[-1] == pytest.approx(due)


def test_a_rest_ends_when_there_is_something_to_find(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])

    def run_once(now: float) -> int:
        clock[0] = now + 5.0
        return 0

    duty = Duty("slow", 1.0, "changes", run_once, max_rest_seconds=10.0, max_wait_seconds=lambda: 0.3)
    thread = DutyThread(duty, threading.Event(), threading.Event())
    assert [thread.run_duty() for _ in range(2)] == [0.3, 0.3]


class _AnotherLeads:
    """The lease of a dispatcher while another one is active."""

    def acquire(self) -> bool:
        return False

    def may_act(self) -> bool:
        return False

    def release(self) -> None:
        pass


def test_a_dispatcher_that_stands_by_runs_only_the_duties_for_it() -> None:
    called: list[str] = []
    duties = [
        Duty("active", 60.0, "calls", lambda _: called.append("active") or 0),
        Duty("standby", 60.0, "calls", lambda _: called.append("standby") or 0, is_on_standby=True),
    ]
    is_ending = threading.Event()
    running = threading.Thread(target=DutyLoop(duties, cast(LeaderLease, _AnotherLeads())).run, args=[is_ending])
    running.start()
    wait_until(lambda: bool(called), what="a duty is called")
    is_ending.set()
    running.join()
    assert called == ["standby"]
