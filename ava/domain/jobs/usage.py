"""The resource usage of runs and jobs, and durations in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunUsage:
    """The resource usage of a run; None: unknown."""

    #: Processor time, including child processes.
    cpu_us: int | None = None
    #: Peak memory in MiB, as sampled by the node.
    peak_memory_mb: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Resource usage of a job's runs."""

    cpu_ms: int | None = field(
        metadata={"description": "The total CPU time of the runs; null if it is not known, as for a pulled run."}
    )
    peak_memory_mb: int | None = field(
        metadata={
            "description": "Peak memory in MiB, as measured by the nodes; null if all runs ended before the first "
            "measurement.",
            "maximum": 2**31,
        }
    )
    wait_ms: int = field(
        metadata={"description": "The total waiting time: from when each run could start to its start."}
    )


NO_USAGE = RunUsage()


def cpu_ms(cpu_us: int | None) -> int | None:
    return None if cpu_us is None else round(cpu_us / 1000)


def elapsed_ms(started_at: datetime, ended_at: datetime) -> int:
    """Return the whole milliseconds of a run. Durations of several runs are the sum of these."""
    return max(0, (ended_at - started_at) // _MILLISECOND)


def wait_ms(started_at: datetime | None, *ready: datetime | None) -> int | None:
    """Return the milliseconds from the latest `ready` time to the start; None if it has not started."""
    if started_at is None:
        return None
    ready_at = max(filter(None, ready))
    return max(0, round((started_at - ready_at).total_seconds() * 1000))
