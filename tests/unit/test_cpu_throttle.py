"""How long a sender rests where the processors are short."""

from __future__ import annotations

from pathlib import Path

import pytest

from ava.delivery import cpu_throttle
from ava.delivery.cpu_throttle import CpuThrottle


class Machine:
    """A clock, and what the kernel tells of our thread."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stat = folder / "schedstat"
        self._now = 100.0
        self._ran = self._waited = 0.0
        monkeypatch.setattr(cpu_throttle.time, "monotonic", lambda: self._now)
        self.go_on(0)

    def go_on(self, seconds: float, *, ran: float = 0.0, waited: float = 0.0) -> None:
        self._now += seconds
        self._ran += ran
        self._waited += waited
        self.stat.write_text(f"{round(self._ran * 1e9)} {round(self._waited * 1e9)} 17\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_who_waits_for_a_processor_rests_until_it_has_had_no_more_than_its_share(machine: Machine) -> None:
    sender = CpuThrottle(10, stat=machine.stat)
    machine.go_on(0.1, ran=0.05, waited=0.05)
    assert sender.rest_seconds(0.1) == pytest.approx(0.4)
    machine.go_on(0.3)
    assert sender.rest_seconds(0.1) == pytest.approx(0.1)
    machine.go_on(0.1, ran=0.02, waited=0.1)
    assert sender.rest_seconds(0.1) == pytest.approx(0.2)
    machine.go_on(0.2)
    assert sender.rest_seconds(0.1) == pytest.approx(0, abs=1e-6)


def test_no_rest_is_longer_than_a_second_whatever_was_run(machine: Machine) -> None:
    sender = CpuThrottle(19, stat=machine.stat)
    machine.go_on(5, ran=4, waited=10)
    assert sender.rest_seconds(None) == 1
    machine.go_on(1)
    assert sender.rest_seconds(None) == 0


def test_who_gets_a_processor_at_once_does_not_rest(machine: Machine) -> None:
    sender = CpuThrottle(10, stat=machine.stat)
    machine.go_on(0.1, ran=0.07, waited=0.02)
    assert sender.rest_seconds(0.1) == 0


def test_what_is_owed_is_forgotten_where_processors_are_free_again(machine: Machine) -> None:
    sender = CpuThrottle(10, stat=machine.stat)
    machine.go_on(0.1, ran=0.05, waited=0.05)
    assert sender.rest_seconds(0.1) > 0
    machine.go_on(0.1, ran=0.01)
    assert sender.rest_seconds(0.1) == 0


def test_an_event_that_has_waited_for_long_is_sent_whoever_waits(machine: Machine) -> None:
    sender = CpuThrottle(10, stat=machine.stat)
    machine.go_on(0.1, ran=0.05, waited=0.5)
    assert sender.rest_seconds(30.5) == 0
    machine.go_on(0.1, ran=0.05, waited=0.5)
    assert sender.rest_seconds(29.5) > 0


def test_without_niceness_there_is_no_rest(machine: Machine) -> None:
    sender = CpuThrottle(0, stat=machine.stat)
    machine.go_on(0.1, ran=0.05, waited=5)
    assert sender.rest_seconds(0.1) == 0


@pytest.mark.parametrize("text", [None, "", "1 2", "x y z"])
def test_where_the_system_tells_nothing_there_is_no_rest(machine: Machine, text: str | None) -> None:
    if text is None:
        machine.stat.unlink()
    else:
        machine.stat.write_text(text)
    sender = CpuThrottle(10, stat=machine.stat)
    assert sender.rest_seconds(0.1) == 0


def test_the_kernel_tells_of_us(tmp_path: Path) -> None:
    sender = CpuThrottle(10)
    ran = sender._ran
    assert sum(range(1_000_000)) > 0
    sender.rest_seconds(None)
    assert sender._ran > ran
