"""The memory limits of workers, compared with what a run takes that does nothing."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

from ava.domain.worker import WorkerSpec
from ava.errors import HandlerError, SettingsError
from ava.node import run_use
from ava.node.outcome import MIB


def own_mb() -> int:
    """Returns the MiB of memory that this process has, private and shared."""
    return math.ceil(run_use.memory_bytes(os.getpid()) / MIB)


def check(specs: Iterable[WorkerSpec], default_mb: int) -> None:
    """Compare the limits with the memory of this process, which has loaded the handlers: each run begins with as much.

    Raises `HandlerError` for a worker, and `SettingsError` for the node's default, whose limit is below that.
    """
    empty_mb = own_mb()
    reason = f"an empty run takes {empty_mb} MiB in this node"
    for spec in specs:
        if spec.max_memory_mb is not None and spec.max_memory_mb <= empty_mb:
            slug = spec.id.removeprefix("wkr_")
            raise HandlerError(f"Worker {slug!r}: max_memory_mb is {spec.max_memory_mb}; {reason}.")
    if 0 < default_mb <= empty_mb:
        raise SettingsError("AVA_MAX_MEMORY_MB", f"it is {default_mb}; {reason}")
