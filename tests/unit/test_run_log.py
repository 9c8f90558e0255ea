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
        (_at(2), _START),
        (_at(5), "Handler failed after 3000ms"),
        (_at(65), _START),
        (_at(66), "Handler lost: its node is dead"),
        (_at(80), _START),
    ]
    found = runs_of(_JOB, lines)
    assert (found.waited_ms, found.ran_ms) == (2_000, 4_000)
    assert [(run.outcome, run.duration_ms) for run in found.runs] == [("failed", 3_000), ("lost", 1_000), (None, None)]


def test_a_scheduled_job_waits_from_its_time_on() -> None:
    found = runs_of(replace(_JOB, scheduled_at=_at(60)), [(_at(61), _START)])
    assert (found.waited_ms, found.ran_ms) == (1_000, None)


def test_a_job_whose_log_was_full_ends_with_its_last_run() -> None:
    final = replace(_JOB, status=Status.COMPLETED, completed_at=_at(9))
    assert runs_of(final, [(_at(1), _START)]).ran_ms == 8_000
    assert runs_of(_JOB, []).waited_ms is None
