"""Hide secrets from handlers: remove them from the environment, and close this process's memory to other processes.

Changing `os.environ` is not enough. /proc/PID/environ shows the memory in which the environment was passed, also of
later forks, to every process of the same account.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path

#: Fields with the addresses of that memory in /proc/PID/stat, counted after the process's name (proc(5): fields 50 and
#: 51).
_START, _END = 47, 48


_PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 4, 24
#: See capabilities(7) and capget(2).
_CAP_SYS_PTRACE, _CAPABILITY_VERSION_3 = 19, 0x20080522


def close_memory() -> None:
    """Close the memory of this process and its forks to other processes of this account: prctl(2), `PR_SET_DUMPABLE`.

    If one machine runs everything, handlers use the same account. The kernel writes no core dump of such a process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def give_up_tracing() -> None:
    """Drop root's capability to open the memory of every process, for this process and its forks.

    Has no effect without root. Call it before the process starts threads, because each thread has its own capabilities.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_CAPBSET_DROP, _CAP_SYS_PTRACE, 0, 0, 0)
    header, sets = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        # The effective, permitted and inheritable sets of the capabilities below 32.
        for index in range(3):
            sets[index] &= ~(1 << _CAP_SYS_PTRACE)
        libc.capset(header, sets)


def conceal(names: Iterable[str]) -> None:
    """Remove variables from the environment, and overwrite their values in the memory that the kernel shows."""
    for name in names:
        os.environ.pop(name, None)
        _overwrite(name)


def overwrite(names: Iterable[str]) -> None:
    """Overwrite values in the memory that the kernel shows. Child processes still inherit the variables."""
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
    # A variable may occur twice.
    while (at := content.find(marked, at)) >= 0:
        # Minus one for the NUL that was put before the first variable.
        first = at + len(marked) - 1
        length = content.index(b"\0", at + len(marked)) - at - len(marked)
        ctypes.memset(start + first, ord("x"), length)
        at += len(marked)
