"""How long a sender pauses while processors are short."""

from __future__ import annotations

from pathlib import Path

import pytest

from ava.delivery import sender_limits
from ava.delivery.sender_limits import CpuThrottle


class Machine:
    """A clock, and the kernel's statistics of our thread."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stat = folder / "schedstat"
        self._now = 100.0
        self._ran = self._waited = 0.0
        monkeypatch.setattr(sender_limits.time, "monotonic", lambda: self._now)
        self.advance(0)

    def advance(self, seconds: float, *, ran: float = 0.0, waited: float = 0.0) -> None:
        self._now += seconds
        self._ran += ran
        self._waited += waited
        self.stat.write_text(f"{round(self._ran * 1e9)} {round(self._waited * 1e9)} 17\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_a_sender_that_waits_for_processors_pauses_until_it_is_down_to_its_share(machine: Machine) -> None:
    throttle = CpuThrottle(10, stat=machine.stat)
    machine.advance(0.1, ran=0.05, waited=0.05)
    assert throttle.pause_seconds(0.1) == pytest.approx(0.4)
    machine.advance(0.3)
    assert throttle.pause_seconds(0.1) == pytest.approx(0.1)
    machine.advance(0.1, ran=0.02, waited=0.1)
    assert throttle.pause_seconds(0.1) == pytest.approx(0.2)
    machine.advance(0.2)
    assert throttle.pause_seconds(0.1) == pytest.approx(0, abs=1e-6)


def test_no_pause_is_longer_than_a_second(machine: Machine) -> None:
    throttle = CpuThrottle(19, stat=machine.stat)
    machine.advance(5, ran=4, waited=10)
    assert throttle.pause_seconds(0) == 1
    machine.advance(1)
    assert throttle.pause_seconds(0) == 0


def test_a_sender_that_gets_a_processor_at_once_does_not_pause(machine: Machine) -> None:
    throttle = CpuThrottle(10, stat=machine.stat)
    machine.advance(0.1, ran=0.07, waited=0.02)
    assert throttle.pause_seconds(0.1) == 0


def test_the_debt_is_dropped_when_processors_are_free_again(machine: Machine) -> None:
    throttle = CpuThrottle(10, stat=machine.stat)
    machine.advance(0.1, ran=0.05, waited=0.05)
    assert throttle.pause_seconds(0.1) > 0
    machine.advance(0.1, ran=0.01)
    assert throttle.pause_seconds(0.1) == 0


def test_the_time_of_counted_statements_adds_to_the_debt(machine: Machine) -> None:
    throttle = CpuThrottle(10, stat=machine.stat)
    with throttle.counted():
        machine.advance(0.05)
    machine.advance(0.05, ran=0.01, waited=0.01)
    assert throttle.pause_seconds(0.1) == pytest.approx(0.5)
    machine.advance(0.5, ran=0.01, waited=0.01)
    assert throttle.pause_seconds(0.1) == pytest.approx(0.1), "each statement is counted once"


def test_an_event_that_has_waited_for_30_s_ends_the_pauses(machine: Machine) -> None:
    throttle = CpuThrottle(10, stat=machine.stat)
    machine.advance(0.1, ran=0.05, waited=0.5)
    assert throttle.pause_seconds(30.5) == 0
    machine.advance(0.1, ran=0.05, waited=0.5)
    assert throttle.pause_seconds(29.5) > 0


def test_without_niceness_there_is_no_pause(machine: Machine) -> None:
    throttle = CpuThrottle(0, stat=machine.stat)
    machine.advance(0.1, ran=0.05, waited=5)
    assert throttle.pause_seconds(0.1) == 0


@pytest.mark.parametrize("content", [None, "", "1 2", "x y z"])
def test_without_kernel_statistics_there_is_no_pause(machine: Machine, content: str | None) -> None:
    if content is None:
        machine.stat.unlink()
    else:
        machine.stat.write_text(content)
    throttle = CpuThrottle(10, stat=machine.stat)
    assert throttle.pause_seconds(0.1) == 0


def test_the_real_kernel_statistics_are_read(tmp_path: Path) -> None:
    throttle = CpuThrottle(10)
    ran = throttle._ran
    assert sum(range(1_000_000)) > 0
    throttle.pause_seconds(0)
    assert throttle._ran > ran
