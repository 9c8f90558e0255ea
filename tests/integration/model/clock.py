"""The time of a history, in place of the module `time`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class VirtualClock:
    """Takes the place of the module `time` in the dispatcher."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@contextmanager
def virtual_time(clock: VirtualClock) -> Iterator[None]:
    """The dispatcher's modules see the time that the history sets."""
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("ava.dispatcher") and getattr(module, "time", None) is time
    ]
    for module in modules:
        module.time = clock  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in modules:
            module.time = time  # type: ignore[attr-defined]
