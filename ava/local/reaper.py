"""A process that outlives us by moments: when we are killed, it ends whatever of ours the kernel's signal did not.

That signal reaches the processes that we started ourselves, and asks them to end. The guardian makes sure of it, and of
the processes that those have started.
"""

from __future__ import annotations

import os
import signal
import time

import psutil

from ava.local import process_tree

__all__ = ["Reaper"]

#: Seconds that processes get to end by themselves after we were killed.
_GRACE_SECONDS = 2.0
_DISMISSED = "dismissed"


class Reaper:
    """Our end of the guardian. Start it while there is one thread: it is a fork of this process."""

    def __init__(self, pid: int, pipe: int) -> None:
        self._pid = pid
        self._pipe = pipe

    @classmethod
    def start(cls) -> Reaper:
        """Start the guardian; it watches this process through a pipe whose other end only this process has."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                _let_go_but(read)
                _guard(read)
            finally:
                os._exit(0)
        os.close(read)
        return cls(pid, write)

    def watch(self, pid: int) -> None:
        """Let the guardian know of a process that must not outlive us."""
        os.write(self._pipe, f"{pid}\n".encode())

    def dismiss(self) -> None:
        """End the guardian: all that it watched has ended in order."""
        os.write(self._pipe, f"{_DISMISSED}\n".encode())
        os.close(self._pipe)
        os.waitpid(self._pid, 0)


def _let_go_but(pipe: int) -> None:
    """Close what a fork has of its parent's: a lock or a pipe would seem to be held after the parent is gone."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    highest = os.sysconf("SC_OPEN_MAX")
    os.closerange(3, pipe)
    os.closerange(pipe + 1, highest)


def _guard(pipe: int) -> None:
    """Listen until the other side is gone; unless it said that all is well, end what it left."""
    # In a session of its own, so that Ctrl-C does not reach it.
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
    everyone = {member for process in process_tree.living(watched) for member in process_tree.members(process.pid)}
    deadline = time.monotonic() + _GRACE_SECONDS
    while process_tree.living(everyone) and time.monotonic() < deadline:
        time.sleep(0.05)
    process_tree.kill(process_tree.living(everyone))
