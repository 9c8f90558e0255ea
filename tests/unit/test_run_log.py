"""The runs of a job, from the rows of its runs and its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ava.domain.jobs.job import Status
from ava.domain.jobs.run_log import EndedJobRun, own_run, retained_run
from ava.domain.jobs.run_outcome import Ending
from ava.domain.jobs.usage import NO_USAGE, RunUsage, Usage
from tests.unit.handlers import JOB

_DUE = datetime(2025, 6, 1, 10, tzinfo=UTC)
_JOB = replace(JOB, status=Status.RUNNING, created_at=_DUE, scheduled_at=None, completed_at=None)


def _at(seconds: float) -> datetime:
    return _DUE + timedelta(seconds=seconds)


def _ended(
    run_no: int, began: float, ended: float, ending: Ending, used: RunUsage = NO_USAGE, wait_ms: int | None = None
) -> EndedJobRun:
    return EndedJobRun(
        run_no=run_no, attempt=1, started_at=_at(began), ended_at=_at(ended), ending=ending, usage=used, wait_ms=wait_ms
    )


def test_a_job_that_was_never_claimed_has_no_run() -> None:
    assert own_run(replace(_JOB, status=Status.CANCELLED, started_at=None, first_run_no=None)) is None
    assert own_run(replace(_JOB, status=Status.QUEUED, started_at=_at(1), first_run_no=1)) is None


def test_the_outcomes_have_the_names_of_the_api() -> None:
    endings = (Ending.RETRIED, Ending.WAITED, Ending.DEFERRED, Ending.LOST)
    runs = [retained_run(_ended(no, 1, 3.9999, ending), _JOB) for no, ending in enumerate(endings, 1)]
    assert [run.outcome for run in runs] == ["failed", "waits", "deferred", "lost"]
    # Whole milliseconds, as the sum in the job's record.
    assert {run.duration_ms for run in runs} == {2_999}


def test_a_single_run_has_used_what_its_job_has() -> None:
    job = replace(
        _JOB, status=Status.COMPLETED, started_at=_at(2), completed_at=_at(9), first_run_no=1, run_no=1, cpu_us=41_600,
        peak_memory_mb=80,
    )  # fmt: skip
    assert job.usage == Usage(cpu_ms=42, peak_memory_mb=80, wait_ms=2_000)
    run = own_run(job)
    assert run
    assert (run.outcome, run.duration_ms) == ("completed", 7_000)
    assert (run.cpu_ms, run.peak_memory_mb, run.wait_ms) == (42, 80, 2_000)


def test_each_of_several_runs_has_used_what_it_has() -> None:
    job = replace(
        _JOB, started_at=_at(70), run_no=3, first_run_no=1, cpu_us=9_000, peak_memory_mb=80, ready_at=_at(65),
        earlier_ms=(None, 2_000),
    )  # fmt: skip
    assert job.usage == Usage(cpu_ms=9, peak_memory_mb=80, wait_ms=7_000)
    first = retained_run(_ended(1, 2, 5, Ending.RETRIED, RunUsage(cpu_us=9_000, peak_memory_mb=80), 2_000), job)
    last = own_run(job)
    assert last
    assert [(run.cpu_ms, run.peak_memory_mb, run.wait_ms) for run in (first, last)] == [
        (9, 80, 2_000),
        (None, None, 5_000),
    ]


def test_a_job_that_has_not_started_has_used_nothing() -> None:
    assert replace(_JOB, status=Status.QUEUED, started_at=None, first_run_no=None).usage is None
