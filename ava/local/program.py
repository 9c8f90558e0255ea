"""Child processes: each has its own session and never outlives the process that started it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from ava.local.account import Account

_LAUNCHER = str(Path(__file__).with_name("launch.py"))


@dataclass(frozen=True, kw_only=True)
class Program:
    """How to run and end a program."""

    #: Its name in the output, such as `postgres`.
    name: str
    argv: tuple[str, ...]
    #: Its complete environment; None: this process's.
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    #: None: this process's.
    account: Account | None = None
    #: May contain a password and is never shown.
    stdin: str = field(default="", repr=False)
    #: Asks it to stop cleanly.
    stop_signal: signal.Signals = signal.SIGTERM
    #: Sent by the kernel when this process dies.
    death_signal: signal.Signals = signal.SIGKILL
    #: Seconds until it is killed after the stop signal.
    stop_seconds: float = 10.0


class ChildProcess:
    """A running program. Start it in the main thread: the death signal fires when the starting thread ends."""

    def __init__(self, program: Program, process: subprocess.Popen[bytes]) -> None:
        self.program = program
        self.process = process
        self._is_tree_killed = False

    @classmethod
    def start(cls, program: Program, output: int | IO[bytes], *, keeps: tuple[int, ...] = ()) -> ChildProcess:
        """Start `program` with stdout and stderr to `output`. Raise `OSError` if no process can be started.

        It inherits the file descriptors `keeps`.
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
        """The id of the process, its session and its process group."""
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs, negative if a signal ended it."""
        return self.process.poll()

    def wait(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ask_to_stop(self) -> None:
        """Send the stop signal to the process, not to its descendants."""
        self._send(self.program.stop_signal)

    def end_at_once(self) -> None:
        self._send(self.program.death_signal)

    def kill(self) -> None:
        """Kill the remains of its process tree."""
        if not self._is_tree_killed:
            # Only once, because its process id may be reused.
            self._is_tree_killed = True
            kill_all(tree_members(self.pid))
            self.process.wait()

    def stop(self) -> None:
        """Ask it to stop, wait up to `stop_seconds`, then kill the remains of its process tree."""
        self.ask_to_stop()
        self.wait(self.program.stop_seconds)
        self.kill()

    def _send(self, signal_number: signal.Signals) -> None:
        if self.exit_code is None:
            self.process.send_signal(signal_number)


def tree_members(pid: int) -> set[psutil.Process]:
    """Return the live processes of the tree: the session leader `pid`, its descendants and its session's members."""
    found = {process for process in psutil.process_iter() if _session(process) == pid}
    with contextlib.suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        found |= {leader, *leader.children(recursive=True)}
    return {process for process in found if _lives(process)}


def living(processes: Iterable[psutil.Process]) -> set[psutil.Process]:
    """Return the processes that are still alive. A reused process id does not count."""
    return {process for process in processes if process.is_running() and _lives(process)}


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Kill `processes`, parents first, so that no parent replaces a killed child."""
    for process in sorted(processes, key=lambda process: (process.create_time(), process.pid)):
        with contextlib.suppress(psutil.Error):
            process.kill()


def _session(process: psutil.Process) -> int:
    try:
        return os.getsid(process.pid)
    except OSError:
        return -1


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False


def ava_argv(*arguments: str) -> tuple[str, ...]:
    """Return the command that runs `ava` with arguments on this Python.

    `-P` excludes the working folder from `sys.path`, where a `click.py` would replace the library.
    """
    return (sys.executable, "-P", "-m", "ava.cli.main", *arguments)


def _launch_argv(program: Program) -> list[str]:
    account = program.account
    ids = (account.uid, account.gid) if account else (-1, -1)
    numbers = (os.getpid(), int(program.death_signal), *ids)
    return [sys.executable, "-I", "-S", _LAUNCHER, *map(str, numbers), *program.argv]
