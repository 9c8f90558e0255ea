"""The limit of open files of a process; each connection is one."""

from __future__ import annotations

import resource
from contextlib import suppress


def allow(wanted: int) -> int:
    """Raise the limit of this process and its children to `wanted`, or to the machine's. Returns the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
