"""Launcher: change the account, set the parent-death signal, then exec the program.

It runs as a file (`python -I -S launch.py PARENT SIGNAL UID GID program …`), so that it starts in about 20 ms. The
kernel clears the death signal when a process changes its account, so the order is: account, signal, exec.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Replace this process by `argv[4:]`, or print one line and exit with 127 if that fails."""
    parent, signal_number, uid, gid = (int(argument) for argument in argv[:4])
    program = argv[4:]
    try:
        if uid >= 0:
            _change_account(uid, gid)
        _set_death_signal(signal_number)
        if os.getppid() != parent:
            os._exit(0)
        os.execvpe(program[0], program, os.environ)  # noqa: S606 - replacing this process is the purpose
    except OSError as problem:
        sys.stderr.write(f"ava: cannot run {program[0]}: {problem.strerror}\n")
        os._exit(127)


def _change_account(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _set_death_signal(signal_number: int) -> None:
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main(sys.argv[1:])
