"""What runs use of their machine, and how long they wait to start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class RunUsage:
    """What a run has used of its machine; None: not known."""

    #: Microseconds of processor time, with those of the processes that it has started.
    cpu_us: int | None = None
    #: The most MiB of memory at a look of its node.
    peak_memory_mb: int | None = None


#: That of a run of which nothing is known.
NO_USAGE = RunUsage()


def record(*, cpu_us: int | None, peak_memory_mb: int | None, wait_ms: int | None) -> dict[str, int | None]:
    """Returns the record of a usage; microseconds of processor time become milliseconds."""
    return {
        "cpu_ms": None if cpu_us is None else round(cpu_us / 1000),
        "peak_memory_mb": peak_memory_mb,
        "wait_ms": wait_ms,
    }


def wait_ms(started_at: datetime | None, *ready: datetime | None) -> int | None:
    """Returns the milliseconds from the last of the moments from which a run could start; None if it has not."""
    if started_at is None:
        return None
    ready_at = max(filter(None, ready))
    return max(0, round((started_at - ready_at).total_seconds() * 1000))
