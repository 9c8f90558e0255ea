"""Processes of this machine, from Linux's `/proc`: their groups and descendants, and how to kill them.

A node's child adopts the processes that its handlers orphan (`PR_SET_CHILD_SUBREAPER`, prctl(2)), so that all processes
of a job, detached ones too, are its descendants.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
#: All signals except those for a fault in this process.
BLOCKABLE_SIGNALS = signal.valid_signals() - _FAULTS - {signal.SIGABRT}

#: Maximum seconds for a process to stop. A process that the kernel blocks for longer runs no code.
_FREEZE_SECONDS = 0.1

_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Make this process the parent of every descendant that loses its own."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def survive_parent() -> None:
    """Ask the kernel to send no signal when this process's parent dies (prctl(2), `PR_SET_PDEATHSIG`)."""
    _libc.prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)


def await_parent_exit(parent_pid: int) -> None:
    with suppress(ProcessLookupError):
        # Never closed: the process ends next, and if a handler closed it, the number may be another file.
        descriptor = os.pidfd_open(parent_pid)
        while os.getppid() == parent_pid:
            try:
                select.select([descriptor], [], [])
            except OSError:
                time.sleep(1)


def exit_with_parent(parent_pid: int) -> None:
    """Start a thread that kills this process and its descendants when the parent ends: other nodes get its jobs."""

    def kill() -> None:
        # The main thread handles signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKABLE_SIGNALS)
        await_parent_exit(parent_pid)
        kill_self_and_descendants()

    threading.Thread(target=kill, name="ava-exit-with-parent", daemon=True).start()


def has_children() -> bool:
    """Return True if this process has an unreaped child. A hundred times faster than `children`."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def children(pid: int) -> list[int]:
    """Return the processes that a process has started or adopted; an empty list if it has ended."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    """Return all descendants of a process, parents before children."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children(waiting.pop())
        found += below
        waiting += below
    return found


def freeze(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + _FREEZE_SECONDS
    while _state(pid) == "R" and time.monotonic() < deadline:
        time.sleep(0.001)


def thaw(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGCONT)


def has_ended(pid: int) -> bool:
    """Return True if a process has ended, reaped or not."""
    return _state(pid) in ("", "Z", "X")


def _state(pid: int) -> str:
    """Return the state letter of a process's main thread (proc_pid_stat(5)); empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return ""


def kill_tree(pid: int) -> None:
    """Kill a process, its group and its descendants with SIGKILL."""
    with suppress(ProcessLookupError, PermissionError):
        # Stop it first, so that it starts no process while its descendants are listed.
        os.kill(pid, signal.SIGSTOP)
    below = descendants(pid)
    with suppress(ProcessLookupError, PermissionError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
    for each in [pid, *below, *descendants(pid)]:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(each, signal.SIGKILL)


def kill_children(keep: frozenset[int] = frozenset()) -> int:
    """Kill and reap this process's children except `keep`, with their descendants. Returns their number."""
    count = 0
    while found := [pid for pid in children(os.getpid()) if pid not in keep]:
        for pid in found:
            kill_tree(pid)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        count += len(found)
    return count


def kill_self_and_descendants() -> None:
    kill_children()
    with suppress(ProcessLookupError, PermissionError):
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
