"""The runs of a job, from the rows of its runs and its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ava.domain.jobs.job import Status
from ava.domain.jobs.run_log import EndedJobRun, runs_of
from ava.domain.jobs.run_outcome import Ending
from ava.domain.jobs.run_usage import NO_USAGE, RunUsage
from tests.unit.handlers import JOB

_DUE = datetime(2025, 6, 1, 10, tzinfo=UTC)
_JOB = replace(JOB, status=Status.RUNNING, created_at=_DUE, scheduled_at=None, completed_at=None)


def _at(seconds: float) -> datetime:
    return _DUE + timedelta(seconds=seconds)


def _kept(
    run_no: int, began: float, ended: float, ending: Ending, used: RunUsage = NO_USAGE, wait_ms: int | None = None
) -> EndedJobRun:
    return EndedJobRun(
        run_no=run_no, started_at=_at(began), ended_at=_at(ended), ending=ending, usage=used, wait_ms=wait_ms
    )


def test_waited_is_until_the_first_start_and_ran_is_the_sum_of_the_runs() -> None:
    kept = [_kept(1, 2, 5, Ending.RETRIED), _kept(2, 65, 66, Ending.LOST)]
    found = runs_of(replace(_JOB, run_no=4, first_run_no=1, started_at=_at(80)), kept)
    assert (found.waited_ms, found.ran_ms) == (2_000, 4_000)
    assert [(run.outcome, run.duration_ms) for run in found.runs] == [("failed", 3_000), ("lost", 1_000), (None, None)]


def test_a_scheduled_job_waits_from_its_time_on() -> None:
    found = runs_of(replace(_JOB, scheduled_at=_at(60), started_at=_at(61), first_run_no=1), [])
    assert (found.waited_ms, found.ran_ms) == (1_000, None)


def test_a_job_that_was_never_claimed_has_no_run() -> None:
    found = runs_of(replace(_JOB, status=Status.CANCELLED, started_at=None, first_run_no=None), [])
    assert (found.runs, found.waited_ms, found.ran_ms) == ([], None, None)


def test_a_run_that_waits_ends_with_the_wait_and_another_continues() -> None:
    kept = [_kept(1, 1, 2, Ending.WAITED), _kept(2, 9, 10, Ending.DEFERRED)]
    found = runs_of(replace(_JOB, run_no=3, first_run_no=1, started_at=_at(15)), kept)
    assert [(run.outcome, run.duration_ms) for run in found.runs] == [
        ("waits", 1_000),
        ("put_off", 1_000),
        (None, None),
    ]


def test_a_single_run_has_used_what_its_job_has() -> None:
    job = replace(
        _JOB, status=Status.COMPLETED, started_at=_at(2), completed_at=_at(9), first_run_no=1, cpu_us=41_600,
        peak_memory_mb=80,
    )  # fmt: skip
    assert job.usage == {"cpu_ms": 42, "peak_memory_mb": 80, "wait_ms": 2_000}
    (run,) = runs_of(job, []).runs
    assert (run.outcome, run.duration_ms) == ("completed", 7_000)
    assert (run.cpu_ms, run.peak_memory_mb, run.wait_ms) == (42, 80, 2_000)


def test_each_of_several_runs_has_used_what_it_has() -> None:
    job = replace(
        _JOB, started_at=_at(70), run_no=3, first_run_no=1, cpu_us=9_000, peak_memory_mb=80, ready_at=_at(65),
        wait_ms=2_000,
    )  # fmt: skip
    assert job.usage == {"cpu_ms": 9, "peak_memory_mb": 80, "wait_ms": 7_000}
    first = _kept(1, 2, 5, Ending.RETRIED, RunUsage(cpu_us=9_000, peak_memory_mb=80), 2_000)
    runs = runs_of(job, [first]).runs
    assert [(run.cpu_ms, run.peak_memory_mb, run.wait_ms) for run in runs] == [(9, 80, 2_000), (None, None, 5_000)]


def test_a_last_run_with_a_row_of_its_own_is_shown_once() -> None:
    final = replace(_JOB, status=Status.COMPLETED, run_no=2, first_run_no=1, started_at=_at(70), completed_at=_at(72))
    kept = [
        _kept(1, 2, 5, Ending.RETRIED, RunUsage(cpu_us=5_000, peak_memory_mb=90)),
        _kept(2, 70, 72, Ending.COMPLETED, RunUsage(cpu_us=4_000, peak_memory_mb=60)),
    ]
    found = runs_of(final, kept).runs
    assert [(run.outcome, run.cpu_ms, run.peak_memory_mb) for run in found] == [("failed", 5, 90), ("completed", 4, 60)]


def test_a_job_that_has_not_started_has_used_nothing() -> None:
    assert replace(_JOB, status=Status.QUEUED, started_at=None, first_run_no=None).usage is None
