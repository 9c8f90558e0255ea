"""Child processes: what to run, and one that runs, in a session of its own, never outliving who started it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ava.local import process_tree
from ava.local.account import Account

__all__ = ["ChildProcess", "Program"]

_LAUNCHER = str(Path(__file__).with_name("launch.py"))


@dataclass(frozen=True, kw_only=True)
class Program:
    """How one program is run and ended."""

    #: What people know it by, as in `postgres`.
    name: str
    #: The program and its arguments.
    argv: tuple[str, ...]
    #: The whole environment; None hands on our own.
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    #: The account it runs as; None is our own.
    account: Account | None = None
    #: What it reads from standard input; it may hold a password, so it is never shown.
    stdin: str = field(default="", repr=False)
    #: The signal that asks it to stop in order.
    stop_signal: signal.Signals = signal.SIGTERM
    #: The signal that it gets from the kernel when we die.
    death_signal: signal.Signals = signal.SIGKILL
    #: Seconds that it may take to stop before it is killed.
    stop_seconds: float = 10.0


class ChildProcess:
    """One running program. Start it from the main thread: the kernel's death signal is tied to the starting thread."""

    def __init__(self, program: Program, process: subprocess.Popen[bytes]) -> None:
        self.program = program
        self.process = process
        self._is_swept = False

    @classmethod
    def start(cls, program: Program, output: int | IO[bytes], *, keeps: tuple[int, ...] = ()) -> ChildProcess:
        """Start `program` with both of its outputs going to `output`; raises `OSError` when no process can be had.

        It inherits the open files `keeps` under their numbers.
        """
        process = subprocess.Popen(
            _launch_argv(program),
            env=program.environ,
            stdin=subprocess.PIPE if program.stdin else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=keeps,
        )
        if process.stdin:
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                pipe.write(program.stdin.encode())
        return cls(program, process)

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its session and of its process group."""
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self.process.poll()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it has ended."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ask_to_stop(self) -> None:
        """Send its stop signal to the program alone, which passes it on as it sees fit."""
        self._send(self.program.stop_signal)

    def end_at_once(self) -> None:
        """Send the signal that it gets when we die."""
        self._send(self.program.death_signal)

    def kill(self) -> None:
        """End at once what is left of the program: itself, its descendants, and whoever is left of its session."""
        if not self._is_swept:
            # Once only: later its number may be another's.
            self._is_swept = True
            process_tree.kill(process_tree.members(self.pid))
            self.process.wait()

    def stop(self) -> None:
        """Ask it to stop, wait as long as it may take, then kill what is left of it."""
        self.ask_to_stop()
        self.wait(self.program.stop_seconds)
        self.kill()

    def _send(self, signal_number: signal.Signals) -> None:
        if self.exit_code is None:
            self.process.send_signal(signal_number)


def _launch_argv(program: Program) -> list[str]:
    account = program.account
    ids = (account.uid, account.gid) if account else (-1, -1)
    numbers = (os.getpid(), int(program.death_signal), *ids)
    return [sys.executable, "-I", "-S", _LAUNCHER, *map(str, numbers), *program.argv]
