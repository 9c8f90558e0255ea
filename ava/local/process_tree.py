"""A process tree: a process, its descendants, and the members of its session."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

import psutil


def members(pid: int) -> set[psutil.Process]:
    """Returns the living processes of the tree: the session leader `pid`, its descendants and its session's members."""
    found = {process for process in psutil.process_iter() if _session(process) == pid}
    with contextlib.suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        found |= {leader, *leader.children(recursive=True)}
    return {process for process in found if _lives(process)}


def living(processes: Iterable[psutil.Process]) -> set[psutil.Process]:
    """Returns those of `processes` that still live. A reused process id does not count."""
    return {process for process in processes if process.is_running() and _lives(process)}


def kill(processes: Iterable[psutil.Process]) -> None:
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
