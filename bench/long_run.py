"""Hundreds of thousands of jobs straight through: whether the last are as fast as the first."""

from __future__ import annotations

import time

from bench.ground import until
from bench.systems import Ours
from bench.table import Figures

__all__ = ["long_run"]


def long_run(system: Ours, *, jobs: int) -> Figures:
    """Drain `jobs` jobs, of which ever so many wait; jobs a second of the first tenth and of the last."""
    system.clear()
    part = jobs // 10
    system.fill(2 * part)
    rates: list[float] = []
    with system.workers():
        until(lambda: system.finished() > 0)
        for number in range(10):
            began, done = time.monotonic(), system.finished()
            until(lambda number=number: system.finished() >= (number + 1) * part, seconds=1800, every=0.2)
            rates.append((system.finished() - done) / (time.monotonic() - began))
            print(f"    {system.finished():,} jobs: {rates[-1]:,.0f} jobs/s", flush=True)
            if number < 8:
                system.fill(part)
    return {"first tenth, jobs/s": rates[0], "last tenth, jobs/s": rates[-1], "last of first": rates[-1] / rates[0]}
