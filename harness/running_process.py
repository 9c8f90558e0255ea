"""One process of a system that is started for tests: signals to it, its end, and what it has printed."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import psutil

from ava.local.program import ChildProcess

#: The level of a line that is a warning or worse, in a log of lines as in one of JSON objects.
_WARNING = re.compile(r"\b(warning|error|critical)\b", re.IGNORECASE)


class RunningProcess:
    """One process of the system. Signals go to it alone, never to its children, like those of `kill`."""

    def __init__(self, child: ChildProcess, log: Path) -> None:
        self.child = child
        self.log = log
        self.joins = 1  # The rows of a node: its pool's, and its slot process's.

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative if a signal ended it."""
        return self.child.exit_code

    @property
    def output(self) -> str:
        """Everything that it has printed so far, on standard output and standard error."""
        return self.log.read_text(errors="replace")

    @property
    def warnings(self) -> list[str]:
        """The lines of its output that are warnings or worse."""
        return [line for line in self.output.splitlines() if _WARNING.search(line[:100])]

    @property
    def children(self) -> list[psutil.Process]:
        """Its living descendants."""
        try:
            found = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [process for process in found if lives(process)]

    def send(self, signal_number: signal.Signals) -> None:
        """Send it a signal. Does nothing if it has ended."""
        if self.exit_code is None:
            os.kill(self.pid, signal_number)

    def terminate(self, seconds: float = 30) -> int:
        """Send SIGTERM and wait for its end. Returns its exit code."""
        self.send(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self) -> None:
        """Send SIGKILL and wait for its end."""
        self.send(signal.SIGKILL)
        self.wait(10)

    def wait(self, seconds: float = 30) -> int:
        """Wait for its end. Returns its exit code."""
        assert self.child.wait(seconds), (
            f"{self.child.program.name} still runs after {seconds:g} s:\n{self.output[-3000:]}"
        )
        return self.child.process.returncode


def lives(process: psutil.Process) -> bool:
    """Returns True if a process runs; a zombie does not."""
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
