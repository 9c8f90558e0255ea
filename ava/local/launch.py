"""A tiny launcher: become another account, ask the kernel to end us with our parent, then become the real program.

Run as a file (`python -I -S launch.py PARENT SIGNAL UID GID program …`), so that it starts in some 20 ms. The kernel
forgets the death signal when a process changes its account, so the order is: account first, then signal, then exec.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Replace this process by `argv[4:]`, or exit 127 with one line when that cannot be."""
    parent, signal_number, uid, gid = (int(text) for text in argv[:4])
    program = argv[4:]
    try:
        if uid >= 0:
            _become(uid, gid)
        _end_with_parent(signal_number)
        if os.getppid() != parent:
            os._exit(0)
        os.execvpe(program[0], program, os.environ)  # noqa: S606 - replacing this process is what it is for
    except OSError as problem:
        sys.stderr.write(f"ava: cannot run {program[0]}: {problem.strerror}\n")
        os._exit(127)


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _end_with_parent(signal_number: int) -> None:
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main(sys.argv[1:])
