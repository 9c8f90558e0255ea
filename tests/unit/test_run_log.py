"""The runs of a job, read from the lines of its log."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ava.domain.jobs.job import Status
from ava.domain.jobs.run_log import runs_of
from tests.unit.handlers import JOB

_DUE = datetime(2025, 6, 1, 10, tzinfo=UTC)
_JOB = replace(JOB, status=Status.RUNNING, created_at=_DUE, scheduled_at=None, completed_at=None)
_START = "Worker handler started"


def _at(seconds: float) -> datetime:
    return _DUE + timedelta(seconds=seconds)


def test_waited_is_until_the_first_start_and_ran_is_the_sum_of_the_runs() -> None:
    lines = [
        (1, _at(2), _START),
        (1, _at(5), "Handler failed after 3000ms"),
        (2, _at(65), _START),
        (2, _at(66), "Handler lost: its node is dead"),
        (4, _at(80), _START),
    ]
    found = runs_of(_JOB, lines, {})
    assert (found.waited_ms, found.ran_ms) == (2_000, 4_000)
    assert [(run.outcome, run.duration_ms) for run in found.runs] == [("failed", 3_000), ("lost", 1_000), (None, None)]


def test_a_scheduled_job_waits_from_its_time_on() -> None:
    found = runs_of(replace(_JOB, scheduled_at=_at(60)), [(1, _at(61), _START)], {})
    assert (found.waited_ms, found.ran_ms) == (1_000, None)


def test_a_job_whose_log_was_full_ends_with_its_last_run() -> None:
    final = replace(_JOB, status=Status.COMPLETED, completed_at=_at(9))
    assert runs_of(final, [(1, _at(1), _START)], {}).ran_ms == 8_000
    assert runs_of(_JOB, [], {}).waited_ms is None


def test_a_run_that_waits_ends_with_the_wait_and_another_continues() -> None:
    lines = [
        (1, _at(1), _START),
        (1, _at(2), "Handler waits for 3 jobs"),
        (2, _at(9), "Handler continues"),
        (2, _at(10), "Handler retries later, in 5 s: busy"),
        (3, _at(15), _START),
    ]
    found = runs_of(_JOB, lines, {})
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
    (run,) = runs_of(job, [(1, _at(2), _START), (1, _at(9), "Handler completed in 7000ms")], {}).runs
    assert (run.cpu_ms, run.peak_memory_mb, run.wait_ms) == (42, 80, 2_000)


def test_each_of_several_runs_has_used_what_it_has() -> None:
    job = replace(
        _JOB, started_at=_at(70), first_run_no=1, cpu_us=9_000, peak_memory_mb=80, ready_at=_at(65), wait_ms=2_000
    )
    assert job.usage == {"cpu_ms": 9, "peak_memory_mb": 80, "wait_ms": 7_000}
    lines = [(1, _at(2), _START), (1, _at(5), "Handler failed after 3000ms"), (3, _at(70), _START)]
    runs = runs_of(job, lines, {1: (9_000, 80, 2_000)}).runs
    assert [(run.cpu_ms, run.peak_memory_mb, run.wait_ms) for run in runs] == [(9, 80, 2_000), (None, None, 5_000)]


def test_a_job_that_has_not_started_has_used_nothing() -> None:
    assert replace(_JOB, status=Status.QUEUED, started_at=None, first_run_no=None).usage is None
