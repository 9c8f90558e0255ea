"""Takes secrets out of this process's environment, so that no handler inherits them or reads them from outside.

`os.environ` alone is not enough: the kernel shows the memory in which the environment was passed as
/proc/PID/environ, also of each process that is forked later, to every process of the same account.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

#: Where the addresses of that memory are in /proc/PID/stat, after the process's name (proc(5): fields 50 and 51).
_START, _END = 47, 48


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
