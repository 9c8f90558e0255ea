"""How busy this machine is, for tests of promises that are given for a quiet one."""

from __future__ import annotations

import os
from pathlib import Path


def busy_factor() -> float:
    """Returns how many processes share each processor at the moment, at least 1: what computes takes so much longer."""
    in_a_minute, _, _, now, _ = Path("/proc/loadavg").read_text().split()
    running = max(float(in_a_minute), float(now.partition("/")[0]))
    return max(1.0, running / (os.cpu_count() or 1))
