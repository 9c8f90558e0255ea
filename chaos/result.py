"""The cost of a fault, counted from the service's records and from the handlers' own records."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from ava.domain import ids
from chaos import effects
from chaos.cluster import Cluster
from chaos.fault import Fault, Injury
from harness.polling import wait_until
from harness.system import FINAL

_LONGEST_SECONDS = 240.0
_LONGEST_RECOVERY_SECONDS = 60.0
#: Max seconds after the last end until every end is counted.
_LONGEST_COUNT_SECONDS = 30.0
#: Starts that show recovery, if the fault names no particular jobs.
_STARTS = 10
#: Max untrue records that are shown with their runs.
_MAX_SHOWN = 3


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
    #: Jobs with a run that did anything after a later run had begun.
    twice: int
    #: Jobs completed in the records by a run other than the last, or without its `done`, or the reverse.
    untrue: int
    #: Jobs with more than one run, one after the other, as a lost process requires.
    repeated: int
    failed: int
    recovery_seconds: float | None
    promised_seconds: float
    #: Accepted by a server that the fault destroyed, and not replicated: no other server can know them.
    uncommitted: int
    #: Number of failed requests of clients, by reason.
    refusals: str
    #: Broken promises that the fault itself adds.
    broken: tuple[str, ...]
    #: Additional measurements.
    measured: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Return True if every promise was kept."""
        return (
            self.lost == self.invented == self.twice == self.untrue == self.failed == 0
            and not self.broken
            and self.recovery_seconds is not None
            and self.recovery_seconds <= self.promised_seconds
        )


def await_starts(cluster: Cluster, injury: Injury) -> None:
    """Wait, during the load, until `_STARTS` handlers have begun, if these show the recovery."""
    if injury.watch is None and injury.recovered_at is None and not injury.jobs:
        with suppress(AssertionError):
            wait_until(lambda: cluster.begun(injury.since) >= _STARTS, seconds=_LONGEST_RECOVERY_SECONDS)


def evaluate(cluster: Cluster, fault: Fault, injury: Injury) -> Result:
    """Wait until the whole load has ended, and count."""
    _await_end(cluster)
    by_job = cluster.runs()
    records = {
        ids.encode("job", id_): Record(status=status, run=run)
        for id_, status, run in cluster.system.query("SELECT id::text, status, output ->> 'run' FROM jobs")
    }
    accepted = {job.id for job in cluster.load.accepted}
    final = {job_id for job_id, record in records.items() if record.status in FINAL}
    judged = set(injury.judged)
    repeated = sum(len(found) > 1 for job_id, found in by_job.items() if job_id not in judged)
    refusals = ", ".join(f"{count} × {what}" for what, count in sorted(cluster.load.refusals.items()))
    broken = list(injury.broken)
    if fault.repeats_nothing and repeated:
        broken.append(f"{repeated} repeated")
    if fault.refuses_nothing and refusals:
        broken.append(refusals)
    others = {job_id: record for job_id, record in records.items() if job_id not in judged}
    untrue = [job_id for job_id, record in others.items() if not is_true(record, by_job.get(job_id, []))]
    broken += [f"{job_id}: {records[job_id]}, {by_job.get(job_id)}" for job_id in untrue[:_MAX_SHOWN]]
    broken += _uncounted(cluster)
    if changed := sum(records[job_id].status != "completed" for job_id in injury.ended_before):
        broken.append(f"{changed} final statuses changed")
    return Result(
        broker=cluster.broker_name,
        fault=fault.name,
        accepted=len(accepted),
        finished=len(final),
        lost=len(accepted - final - set(injury.uncommitted)),
        invented=len(records.keys() - accepted),
        twice=len(effects.overlapping(by_job)),
        untrue=len(untrue),
        repeated=repeated,
        failed=sum(record.status == "failed" for record in others.values()),
        recovery_seconds=_recovery(by_job, injury),
        promised_seconds=fault.promised_seconds,
        uncommitted=len(injury.uncommitted),
        refusals=refusals,
        broken=tuple(broken),
        measured=tuple(injury.measured),
    )


@dataclass(frozen=True, kw_only=True)
class Record:
    """A job in the database."""

    status: str
    #: The run that returned its output; None before that.
    run: str | None


def is_true(record: Record, found: list[effects.Run]) -> bool:
    """Return False if a record contradicts the job's runs: only the last one may and must have completed it."""
    if record.status != "completed":
        return not any(run.is_done for run in found)
    return bool(found) and found[-1].is_done and found[-1].name == record.run


def _await_end(cluster: Cluster) -> None:
    deadline = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < deadline:
        if not cluster.system.query("SELECT 1 FROM jobs WHERE completed_at IS NULL LIMIT 1"):
            return
        time.sleep(0.5)


def _uncounted(cluster: Cluster) -> list[str]:
    """Return the errors in the count of ended jobs, after waiting for it to be complete."""

    def counts() -> tuple[int, int]:
        query = "SELECT (SELECT coalesce(sum(jobs), 0)::integer FROM job_minutes), count(completed_at) FROM jobs"
        counted, ended = cluster.system.query(query)[0]
        return counted, ended

    deadline = time.monotonic() + _LONGEST_COUNT_SECONDS
    while time.monotonic() < deadline:
        counted, ended = counts()
        if counted == ended:
            return []
        time.sleep(0.5)
    counted, ended = counts()
    return [] if counted == ended else [f"{counted} of {ended} ended jobs are counted"]


def _recovery(by_job: dict[str, list[effects.Run]], injury: Injury) -> float | None:
    if injury.recovered_at is not None:
        return injury.recovered_at - injury.since
    if injury.watch:
        return None if injury.watch.ended_at is None else max(0.0, injury.watch.ended_at - injury.since)
    if not injury.jobs:
        starts = sorted(a.began_at for found in by_job.values() for a in found if a.began_at > injury.since)
        return starts[_STARTS - 1] - injury.since if len(starts) >= _STARTS else None
    firsts = [next((a.began_at for a in by_job.get(job, []) if a.began_at > injury.since), None) for job in injury.jobs]
    # A job that ended before the fault needs no start.
    missing = [
        job
        for job, first in zip(injury.jobs, firsts, strict=True)
        if first is None and not any(a.is_done for a in by_job.get(job, []))
    ]
    return None if missing else max((first - injury.since for first in firsts if first is not None), default=0.0)
