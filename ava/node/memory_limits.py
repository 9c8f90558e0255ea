"""Compare the memory limits of workers with the memory of an empty run."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

from ava.domain.worker import WorkerSpec
from ava.errors import HandlerError, SettingsError
from ava.node import run_use
from ava.node.outcome import MIB


def own_mb() -> int:
    """Return this process's memory in MiB, private and shared."""
    return math.ceil(run_use.memory_bytes(os.getpid()) / MIB)


def check(specs: Iterable[WorkerSpec], default_mb: int) -> None:
    """Compare the limits with the memory of this process after loading the handlers: each run starts with as much.

    Raises `HandlerError` for a worker, and `SettingsError` for the node's default, if its limit is not above that.
    """
    empty_mb = own_mb()
    reason = f"an empty run takes {empty_mb} MiB in this node"
    for spec in specs:
        if spec.max_memory_mb is not None and spec.max_memory_mb <= empty_mb:
            slug = spec.id.removeprefix("wkr_")
            raise HandlerError(f"Worker {slug!r}: max_memory_mb is {spec.max_memory_mb}; {reason}.")
    if 0 < default_mb <= empty_mb:
        raise SettingsError("AVA_MAX_MEMORY_MB", f"it is {default_mb}; {reason}")
