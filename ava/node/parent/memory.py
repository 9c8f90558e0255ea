"""Measure the total memory of a node's processes."""

from __future__ import annotations

import os
from pathlib import Path

from ava.node import processes


def held_bytes() -> int | None:
    """Return the memory of this process and its descendants in bytes; None if the kernel does not report it.

    Each process counts with its proportional share (Linux's PSS), so that shared pages are counted only once.
    """
    shares = [_share(pid) for pid in (os.getpid(), *processes.descendants(os.getpid()))]
    known = [share for share in shares if share is not None]
    return sum(known) if known else None


def _share(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        # The process has just ended, or belongs to another user.
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), None)
