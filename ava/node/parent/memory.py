"""How much of this machine's memory a process holds with all below it."""

from __future__ import annotations

import os
from pathlib import Path

from ava.node import processes

__all__ = ["held_bytes"]


def held_bytes() -> int | None:
    """This process's share and its descendants', shared pages counted once in all (Linux's PSS); None elsewhere."""
    shares = [_share(pid) for pid in (os.getpid(), *processes.descendants(os.getpid()))]
    known = [share for share in shares if share is not None]
    return sum(known) if known else None


def _share(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        # It has ended meanwhile, or is not ours to look at.
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), None)
