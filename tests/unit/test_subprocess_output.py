"""What subprocesses of a handler write to its standard streams."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from ava.domain.job import LogLevel
from ava.node.child.job_log import JobLog
from ava.node.child.subprocess_output import SubprocessOutput

Capture = Callable[[Callable[[], object]], list[tuple[LogLevel, str]]]


@pytest.fixture
def captured(capfd: pytest.CaptureFixture[str]) -> Capture:
    """Returns a function that calls another and returns the lines of the log."""

    def run(act: Callable[[], object]) -> list[tuple[LogLevel, str]]:
        log = JobLog(first_seq=0, started_at=datetime(2025, 6, 1, tzinfo=UTC))
        kept = [os.dup(number) for number in range(3)]
        before = set(os.listdir("/proc/self/fd"))
        output = SubprocessOutput(log, kept)
        try:
            act()
        finally:
            output.close()
        os.write(1, b"restored")
        assert capfd.readouterr().out == "restored"
        # A collection of garbage may close what an earlier test of this process left, so fewer is no fault.
        assert set(os.listdir("/proc/self/fd")) <= before
        for number in kept:
            os.close(number)
        return [(line.level, line.msg) for line in log.take()]

    return run


def test_both_streams_of_subprocesses_are_lines_of_the_log(captured: Capture) -> None:
    lines = captured(lambda: subprocess.run("echo one; echo two >&2; printf thrée", shell=True, check=True))
    assert sorted(lines) == [(LogLevel.INFO, "one"), (LogLevel.INFO, "thrée"), (LogLevel.WARN, "two")]


def test_more_than_a_pipe_holds_is_read_while_the_subprocess_writes(captured: Capture) -> None:
    program = "for n in range(5_000): print('x' * 20)"
    lines = captured(lambda: subprocess.run([sys.executable, "-c", program], check=True))
    assert lines == [(LogLevel.INFO, "x" * 20)] * 5_000


def test_a_process_that_outlives_the_handler_does_not_hold_it_up(captured: Capture) -> None:
    process: list[subprocess.Popen[bytes]] = []
    lines = captured(lambda: process.append(subprocess.Popen(["sleep", "60"])))
    assert lines == []
    process[0].kill()
    process[0].wait()
