"""What a fault cost: counted from the records, and from what the handlers themselves recorded."""

from __future__ import annotations

import time
from dataclasses import dataclass

from chaos import effects
from chaos.cluster import Cluster
from chaos.faults import Fault, Injury

__all__ = ["Result", "evaluate"]

_LONGEST_SECONDS = 240.0
#: Starts that show that work goes on, if the fault names no particular jobs.
_STARTS = 10


@dataclass(frozen=True, kw_only=True)
class Result:
    """One row of the table."""

    broker: str
    fault: str
    accepted: int
    finished: int
    #: Accepted, and not final or not in the database.
    lost: int
    #: In the database, and never accepted.
    invented: int
    #: Of which one run did anything after a later one had begun.
    twice: int
    #: Completed in the records without the handler's `done`, or the reverse.
    untrue: int
    #: Began more than once, one after the other, as a lost process makes necessary.
    repeated: int
    failed: int
    recovery_seconds: float | None
    promised_seconds: float
    #: How often clients were refused, by reason.
    refusals: str

    @property
    def is_kept(self) -> bool:
        """True if every promise was kept."""
        return (
            self.lost == self.invented == self.twice == self.untrue == self.failed == 0
            and self.recovery_seconds is not None
            and self.recovery_seconds <= self.promised_seconds
        )


def evaluate(cluster: Cluster, fault: Fault, injury: Injury) -> Result:
    """Wait until the whole load is done, and count."""
    ids = {job.id for job in cluster.load.accepted}
    _await_end(cluster)
    statuses = dict(cluster.system.query("SELECT status, count(*)::int FROM jobs GROUP BY status"))
    finished = sum(statuses.get(status, 0) for status in ("completed", "failed", "cancelled"))
    known = sum(statuses.values())
    by_job = cluster.runs()
    return Result(
        broker=cluster.broker_name,
        fault=fault.name,
        accepted=len(ids),
        finished=finished,
        lost=max(0, len(ids) - known) + known - finished,
        invented=max(0, known - len(ids)),
        twice=len(effects.overlapping(by_job)),
        untrue=abs(statuses.get("completed", 0) - sum(any(a.is_done for a in found) for found in by_job.values())),
        repeated=sum(len(found) > 1 for found in by_job.values()),
        failed=statuses.get("failed", 0),
        recovery_seconds=_recovery(by_job, injury),
        promised_seconds=fault.promised_seconds,
        refusals=", ".join(f"{count} × {what}" for what, count in sorted(cluster.load.refusals.items())),
    )


def _await_end(cluster: Cluster) -> None:
    deadline = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < deadline:
        if not cluster.system.query("SELECT 1 FROM jobs WHERE completed_at IS NULL LIMIT 1"):
            return
        time.sleep(0.5)


def _recovery(by_job: dict[str, list[effects.Run]], injury: Injury) -> float | None:
    if injury.watch:
        return None if injury.watch.over_at is None else max(0.0, injury.watch.over_at - injury.since)
    if not injury.jobs:
        starts = sorted(a.began_at for found in by_job.values() for a in found if a.began_at > injury.since)
        return starts[_STARTS - 1] - injury.since if len(starts) >= _STARTS else None
    firsts = [next((a.began_at for a in by_job.get(job, []) if a.began_at > injury.since), None) for job in injury.jobs]
    # A job that had ended before the fault needs no start.
    missing = [
        job
        for job, first in zip(injury.jobs, firsts, strict=True)
        if first is None and not any(a.is_done for a in by_job.get(job, []))
    ]
    return None if missing else max((first - injury.since for first in firsts if first is not None), default=0.0)
