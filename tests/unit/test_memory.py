"""What runs use of a machine, and what the kernel says of those that it has killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ava.domain.jobs.job import RunKey
from ava.domain.worker import WorkerSpec
from ava.errors import HandlerError, SettingsError
from ava.handler import registry
from ava.node import machine_use
from ava.node.child.child import Wear
from ava.node.outcome import MIB, Stop
from ava.node.parent import deadlines
from ava.node.parent.oom_kills import OomKills
from ava.node.parent.pool_runs import TrackedRun
from ava.node.run_board import CurrentRun, Phase

HOLDS = "held = b'x' * ({mb} << 20); print(len(held), flush=True); input()"
# A process with a child of its own, both of which take memory.
BOTH = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {HOLDS.format(mb=40)!r}], stdin=sys.stdin, stdout=subprocess.PIPE)
child.stdout.readline()
{HOLDS.format(mb=30)}
"""
WORKS = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
WORKS_TWICE = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {WORKS!r}], check=True)
{WORKS}
print(1, flush=True)
input()
"""


@contextmanager
def process(code: str) -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.readline()
        try:
            yield started.pid
        finally:
            started.kill()


def test_memory_is_that_of_a_process_and_of_all_that_it_has_started() -> None:
    with process(BOTH) as pid:
        whole = machine_use.measure(pid).memory_bytes / MIB
        alone = machine_use.memory_bytes(pid) / MIB
    assert 30 < alone < 60
    assert 70 < whole < 120


def test_processor_time_is_that_of_a_process_and_of_all_that_it_has_started() -> None:
    with process(WORKS_TWICE) as pid:
        used = machine_use.measure(pid).cpu_us
    assert 0.6 <= used / 1e6 < 3


def test_a_process_that_has_ended_uses_nothing() -> None:
    with process("print()") as pid:
        pass
    assert machine_use.measure(pid) == machine_use.RunUse(memory_bytes=0, cpu_us=0)


def test_own_processor_time_counts_threads_and_reaped_children() -> None:
    before = machine_use.own_cpu_us()
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    alone = machine_use.own_cpu_us()
    assert alone - before >= 50_000
    subprocess.run([sys.executable, "-c", WORKS], check=True)
    assert machine_use.own_cpu_us() - alone >= 300_000


def test_a_limit_that_is_published_after_the_claim_holds() -> None:
    key = RunKey("ten_a", "job_a", 1)
    run = TrackedRun.of(1, CurrentRun(key=key, phase=Phase.CLAIMING))
    begun = CurrentRun(key=key, phase=Phase.RUNNING, max_memory_mb=10, timeout_seconds=5, grace_seconds=2, cpu_us=7)
    run.follow(begun)
    assert run.state == TrackedRun.of(1, begun).state
    run.record_use(machine_use.RunUse(memory_bytes=11 * MIB, cpu_us=9))
    assert deadlines.decide(run.state, 1.0, deadlines.NodeState()).send is Stop.MEMORY
    run.record_use(machine_use.RunUse(memory_bytes=3 * MIB, cpu_us=10))
    assert (run.peak_bytes, run.cpu_us) == (11 * MIB, 3)


# The kernel's kills --------------------------------------------------------------------------------------------------


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    path = tmp_path / "memory.events"
    path.write_text("low 0\noom 7\noom_kill 3\noom_group_kill 9\n")
    return path


@pytest.mark.parametrize(
    ("count", "polls", "taken"),
    [
        pytest.param(3, 0, [False], id="the kernel has killed nothing"),
        pytest.param(4, 0, [True, False], id="one kill is that of one death"),
        pytest.param(5, 0, [True, True, False], id="several deaths use up as many"),
        pytest.param(4, 1, [True], id="a death may be reported after the next poll"),
        # It may have killed a program that a handler had started.
        pytest.param(4, 2, [False], id="a death long after a kill is none of it"),
    ],
)
def test_a_death_is_of_the_kernel_if_its_count_has_grown(
    counter: Path, count: int, polls: int, taken: list[bool]
) -> None:
    kills = OomKills([counter])
    counter.write_text(f"low 0\noom 7\noom_kill {count}\noom_group_kill 9\n")
    for _ in range(polls):
        kills.poll()
    assert [kills.take() for _ in taken] == taken


def test_a_kernel_that_counts_nothing_has_killed_nothing(tmp_path: Path) -> None:
    assert not OomKills([tmp_path / "none"]).take()
    other = tmp_path / "memory.oom_control"
    other.write_text("oom_kill_disable 0\nunder_oom 0\n")
    assert not OomKills([other]).take()
    assert not OomKills().take()


# Limits --------------------------------------------------------------------------------------------------------------


def spec(mb: int | None) -> WorkerSpec:
    @registry.worker("with_memory", max_memory_mb=mb)
    def with_memory(input: object) -> None:
        """Nothing."""

    return registry._handlers.pop("wkr_with_memory").spec


@pytest.mark.parametrize("mb", [0, -1, 1.5, "512", True, 2**40])
def test_a_limit_is_a_whole_number_of_mebibytes(mb: object) -> None:
    with pytest.raises(HandlerError, match=r"max_memory_mb must be whole MiB from 1 to 1048576"):
        spec(mb)  # type: ignore[arg-type]


def test_a_limit_below_what_an_empty_run_takes_is_refused_with_what_that_is() -> None:
    own = machine_use.own_mb()
    message = r"Worker 'with_memory': max_memory_mb is 1; an empty run takes (\d+) MiB in this node\."
    with pytest.raises(HandlerError, match=message):
        machine_use.check_memory_limits([spec(None), spec(1)], 0)
    with pytest.raises(SettingsError, match=r"AVA_MAX_MEMORY_MB: it is 2; an empty run takes \d+ MiB"):
        machine_use.check_memory_limits([], 2)
    machine_use.check_memory_limits([spec(own + 100)], own + 100)


def test_a_process_is_replaced_that_keeps_much_of_what_a_limit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    own = machine_use.own_mb()
    limited = replace(spec(own + 200), id="wkr_limited")
    monkeypatch.setattr(registry, "_handlers", {limited.id: SimpleNamespace(spec=limited)})
    settings = SimpleNamespace(max_jobs_per_process=0, max_memory_per_process=0, max_memory_mb=0)
    wear = Wear(settings)  # type: ignore[arg-type]
    assert not wear.is_worn_out
    held = b"x" * (60 * MIB)
    assert not wear.is_worn_out
    more = b"x" * (100 * MIB)
    assert wear.is_worn_out
    assert len(held) + len(more) == 160 * MIB


def test_a_process_without_limits_may_keep_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_handlers", {})
    settings = SimpleNamespace(max_jobs_per_process=0, max_memory_per_process=0, max_memory_mb=0)
    monkeypatch.setattr(machine_use, "own_private_bytes", lambda: pytest.fail("it was measured"))
    assert not Wear(settings).is_worn_out  # type: ignore[arg-type]
