"""Resource usage and waiting time of runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class RunUsage:
    """The resource usage of a run; None: unknown."""

    #: Processor time, including child processes.
    cpu_us: int | None = None
    #: Peak memory in MiB, as sampled by the node.
    peak_memory_mb: int | None = None


_MILLISECOND = timedelta(milliseconds=1)
NO_USAGE = RunUsage()


def record(*, cpu_us: int | None, peak_memory_mb: int | None, wait_ms: int | None) -> dict[str, int | None]:
    return {
        "cpu_ms": None if cpu_us is None else round(cpu_us / 1000),
        "peak_memory_mb": peak_memory_mb,
        "wait_ms": wait_ms,
    }


def elapsed_ms(started_at: datetime, ended_at: datetime) -> int:
    """Return the whole milliseconds of a run. Durations of several runs are the sum of these."""
    return max(0, (ended_at - started_at) // _MILLISECOND)


def wait_ms(started_at: datetime | None, *ready: datetime | None) -> int | None:
    """Return the milliseconds from the latest `ready` time to the start; None if it has not started."""
    if started_at is None:
        return None
    ready_at = max(filter(None, ready))
    return max(0, round((started_at - ready_at).total_seconds() * 1000))
