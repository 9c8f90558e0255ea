"""The runs of a job, from the rows of its runs and its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ava.domain.jobs.job import Status
from ava.domain.jobs.run_log import EndedJobRun, own_run, retained_run
from ava.domain.jobs.run_outcome import Ending
from ava.domain.jobs.usage import NO_USAGE, RunUsage
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


def test_a_job_that_has_not_started_has_used_nothing() -> None:
    assert replace(_JOB, status=Status.QUEUED, started_at=None, first_run_no=None).usage is None
