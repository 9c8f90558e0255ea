"""What subprocesses of a handler write to its standard streams: to the job's log, or masked to where it goes anyway."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from ava.domain.jobs.job import LogLevel
from ava.domain.secrets.masking import SecretMask
from ava.node.child import descriptor_pipes
from ava.node.child.descriptor_pipes import redirect
from ava.node.runs.job_log import JobLog
from harness.polling import wait_until

Capture = Callable[[Callable[[], object]], list[tuple[LogLevel, str]]]


@contextmanager
def redirected(log: JobLog, *, captures_subprocesses: bool = False, mask: SecretMask | None = None) -> Iterator[None]:
    """Redirect the descriptors. They are restored as `ProcessState` does it, and nothing else is left open."""
    duplicates = {number: os.dup(number) for number in (1, 2)}
    before = set(os.listdir("/proc/self/fd"))
    pipes = redirect(log, captures_subprocesses=captures_subprocesses, mask=mask)
    assert pipes is not None
    try:
        yield
    finally:
        for number, file in duplicates.items():
            os.dup2(file, number)
        pipes.close()
    # A collection of garbage may close what an earlier test of this process left, so fewer is no fault.
    assert set(os.listdir("/proc/self/fd")) <= before
    for file in duplicates.values():
        os.close(file)


def new_log() -> JobLog:
    return JobLog(first_seq=0, started_at=datetime(2025, 6, 1, tzinfo=UTC))


@pytest.fixture
def captured(capfd: pytest.CaptureFixture[str]) -> Capture:
    """Returns a function that calls another and returns the lines of the log."""

    def run(act: Callable[[], object]) -> list[tuple[LogLevel, str]]:
        log = new_log()
        with redirected(log, captures_subprocesses=True):
            act()
        os.write(1, b"restored")
        assert capfd.readouterr().out == "restored"
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


def test_secrets_are_masked_where_the_lines_go_anyway(capfd: pytest.CaptureFixture[str]) -> None:
    log = new_log()
    with redirected(log, mask=SecretMask(["xoxb-of-the-tenant"])):
        subprocess.run(
            "printf xoxb-of; sleep 0.1; echo -the-tenant; printf xoxb-of-the-tenant >&2", shell=True, check=True
        )
        os.write(1, b"not \xff UTF-8\n")
    assert log.take() == []
    assert capfd.readouterr() == ("••••••\nnot \ufffd UTF-8\n", "••••••")


def test_secrets_are_masked_in_the_log_of_a_handler_that_asks_for_the_output() -> None:
    log = JobLog(first_seq=0, started_at=datetime(2025, 6, 1, tzinfo=UTC), mask=SecretMask(["xoxb-of-the-tenant"]))
    with redirected(log, captures_subprocesses=True, mask=SecretMask(["xoxb-of-the-tenant"])):
        subprocess.run(["echo", "xoxb-of-the-tenant"], check=True)
    assert [line.msg for line in log.take()] == ["••••••"]


def test_a_descriptor_that_the_handler_closes_is_not_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    log, reads, read = new_log(), list[int](), descriptor_pipes._read_now
    monkeypatch.setattr(descriptor_pipes, "_read_now", lambda end: reads.append(end) or read(end))  # type: ignore[func-returns-value]
    with redirected(log, captures_subprocesses=True):
        os.close(1)
        for number in range(20):
            os.write(2, f"{number}\n".encode())
            wait_until(lambda: not log.is_empty)
            log.take()
        assert len(reads) <= 21
        os.dup2(2, 1)


def test_without_descriptors_the_log_says_that_the_output_is_not_captured_and_secrets_are_not_risked() -> None:
    log = new_log()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        assert redirect(log, captures_subprocesses=True, mask=None) is None
        with pytest.raises(OSError, match="Too many open files"):
            redirect(log, captures_subprocesses=False, mask=SecretMask(["xoxb-of-the-tenant"]))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    (line,) = log.take()
    assert (line.level, line.msg[:42]) == (LogLevel.WARN, "The output of subprocesses is not captured")


def test_without_secrets_a_handler_that_does_not_ask_costs_no_thread() -> None:
    assert redirect(new_log(), captures_subprocesses=False, mask=None) is None
