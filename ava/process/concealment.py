"""Keep secrets from handlers: take them out of the environment, and close this process's memory to other processes.

`os.environ` alone is not enough: the kernel shows the memory in which the environment was passed as
/proc/PID/environ, also of each process that is forked later, to every process of the same account.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path

#: Where the addresses of that memory are in /proc/PID/stat, after the process's name (proc(5): fields 50 and 51).
_START, _END = 47, 48


_PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 4, 24
#: capabilities(7), and capget(2).
_CAP_SYS_PTRACE, _CAPABILITY_VERSION_3 = 19, 0x20080522


def close_memory() -> None:
    """Let no process of this account open this process's memory, and those that it forks: prctl(2), `PR_SET_DUMPABLE`.

    Handlers run under the same account where one machine runs everything. The kernel writes no core dump of such a
    process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def give_up_tracing() -> None:
    """Give up the capability by which root opens the memory of every process, for this process and those it forks.

    Without root there is nothing to give up. Call it before the process has threads, because each has capabilities of
    its own.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_CAPBSET_DROP, _CAP_SYS_PTRACE, 0, 0, 0)
    header, sets = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        # Effective, permitted and inheritable, of the capabilities below 32.
        for place in range(3):
            sets[place] &= ~(1 << _CAP_SYS_PTRACE)
        libc.capset(header, sets)


def conceal(names: Iterable[str]) -> None:
    """Remove variables from the environment, and overwrite their values where the kernel shows them."""
    for name in names:
        os.environ.pop(name, None)
        _overwrite(name)


def overwrite(names: Iterable[str]) -> None:
    """Overwrite values where the kernel shows them. The variables stay in the environment, for child processes."""
    for name in names:
        # The C library's environment may point into that memory.
        if (value := os.environ.get(name)) is not None:
            os.environ[name] = value
        _overwrite(name)


def _overwrite(name: str) -> None:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[_START]), int(fields[_END])
    if start == 0:
        return
    block = (ctypes.c_char * (end - start)).from_address(start)
    marked = f"\0{name}=".encode()
    content, at = b"\0" + block.raw, 0
    # A variable may be there twice.
    while (at := content.find(marked, at)) >= 0:
        # One byte less, because of the zero that was put before the first variable.
        first = at + len(marked) - 1
        length = content.index(b"\0", at + len(marked)) - at - len(marked)
        ctypes.memset(start + first, ord("x"), length)
        at += len(marked)
