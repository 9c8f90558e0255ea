"""Adopted processes that have ended: they are reaped during a run, so that a handler may start any number of them.

The `true` of `sh -c 'true &'` loses its parent, is adopted by this process (`processes.adopt_orphans`) and ends as its
zombie. The kernel does not show which children were adopted. So the processes that Python code starts are recorded:
their exit codes belong to the handler, however late it asks. Those that a C library starts are not seen here; such a
library has `_UNCLAIMED_SECONDS` to collect an exit code.
"""

from __future__ import annotations

import _posixsubprocess
import functools
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ava.node import processes

__all__ = ["Adopted", "record_starts"]

#: Seconds between two looks for zombies.
_LOOK_SECONDS = 1.0
#: Seconds after which a zombie that Python code has not started is reaped.
_UNCLAIMED_SECONDS = 5.0
#: By what Python code starts a process. Each returns its pid, or a pair that begins with it; 0 in the new process.
_STARTS: tuple[tuple[Any, str], ...] = (
    (os, "fork"),
    (os, "forkpty"),
    (os, "posix_spawn"),
    (os, "posix_spawnp"),
    (_posixsubprocess, "fork_exec"),
    (subprocess, "_fork_exec"),
)

#: Where starts are recorded: the processes that this one has started. Empty in a process that runs no handlers.
_records: list[set[int]] = []


def record_starts() -> None:
    """Have the starts of processes recorded in each child; called before a handler module imports the functions."""
    for module, name in _STARTS:
        start = getattr(module, name)
        if not hasattr(start, "__wrapped__"):
            setattr(module, name, _recorded(start))


def _recorded(start: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(start)
    def start_and_record(*args: Any, **kwargs: Any) -> Any:
        found = start(*args, **kwargs)
        for record in _records:
            record.add(found[0] if isinstance(found, tuple) else found)
        return found

    return start_and_record


class Adopted:
    """The adopted processes of this process, as its companion thread sees them."""

    def __init__(self) -> None:
        self._look_at = 0.0
        #: When each zombie was first seen.
        self._zombies: dict[int, float] = {}
        #: The processes that Python code has started and that may not be reaped yet.
        self._started: set[int] = set()
        _records[:] = [self._started]

    def reap(self, now: float) -> None:
        """Reap those that ended some seconds ago. `now`: seconds of the monotonic clock."""
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        # Copied before the children are read: each of these is among them until the handler has reaped it.
        started = frozenset(self._started)
        if not started and not processes.has_zombie():
            self._zombies.clear()
            return
        children = frozenset(processes.children(os.getpid()))
        self._started -= started - children
        zombies = [pid for pid in children - started if processes.is_zombie(pid)]
        self._zombies = {pid: self._zombies.get(pid, now) for pid in zombies}
        for pid, since in self._zombies.items():
            if now - since >= _UNCLAIMED_SECONDS:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
