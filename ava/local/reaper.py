"""The reaper: a process that briefly outlives its parent and kills the processes that the death signal did not end.

The death signal reaches only direct children, and only asks some of them to end.
"""

from __future__ import annotations

import os
import signal
import time

import psutil

from ava.local import program

#: Seconds for processes to end by themselves after the parent was killed.
_GRACE_SECONDS = 2.0
_DISMISSED = "dismissed"


class Reaper:
    """The handle of the reaper process. Start it while this process has one thread, because it is forked from it."""

    def __init__(self, pid: int, pipe: int) -> None:
        self._pid = pid
        self._pipe = pipe

    @classmethod
    def start(cls) -> Reaper:
        """Start the reaper. It notices this process's end through a pipe that only this process can write to."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                _close_all_files_but(read)
                _wait_for_parent(read)
            finally:
                os._exit(0)
        os.close(read)
        return cls(pid, write)

    def watch(self, pid: int) -> None:
        os.write(self._pipe, f"{pid}\n".encode())

    def dismiss(self) -> None:
        """End the reaper, because all watched processes have ended."""
        os.write(self._pipe, f"{_DISMISSED}\n".encode())
        os.close(self._pipe)
        os.waitpid(self._pid, 0)


def _close_all_files_but(pipe: int) -> None:
    """Close inherited files, because they would keep the parent's locks and pipes open after its end."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    highest = os.sysconf("SC_OPEN_MAX")
    os.closerange(3, pipe)
    os.closerange(pipe + 1, highest)


def _wait_for_parent(pipe: int) -> None:
    """Read the pipe until the parent ends. Unless it dismissed the reaper, end the remaining processes."""
    # Its own session, so that Ctrl-C does not reach it.
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched = []
    with os.fdopen(pipe) as lines:
        for line in lines:
            if line.strip() == _DISMISSED:
                return
            if psutil.pid_exists(int(line)):
                watched.append(psutil.Process(int(line)))
    _end(watched)


def _end(watched: list[psutil.Process]) -> None:
    members = {member for process in program.living(watched) for member in program.tree_members(process.pid)}
    deadline = time.monotonic() + _GRACE_SECONDS
    while program.living(members) and time.monotonic() < deadline:
        time.sleep(0.05)
    program.kill_all(program.living(members))
