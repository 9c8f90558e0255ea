"""How many files a process may have open; each connection is one."""

from __future__ import annotations

import resource
from contextlib import suppress

__all__ = ["allow"]


def allow(wanted: int) -> int:
    """Allow this process and its children as many open files as are needed, or as the machine lets us; how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
