"""The outcome of a run: the closing line of its log, and whether the run has a row of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ava.domain.jobs import run_outcome
from ava.domain.jobs.job import Job, LogLevel, Status, Trigger
from ava.domain.jobs.run_outcome import DURATION, Ending, LockedRun, RunOutcome, next_values
from ava.domain.jobs.usage import RunUsage
from ava.domain.jobs.waits import Wait, WaitCondition
from ava.store.jobs.transitions.ended_runs import EndedRun

NOW = datetime(2026, 11, 30, tzinfo=UTC)
USED = RunUsage(cpu_us=500, peak_memory_mb=30)


@pytest.fixture
def running() -> LockedRun:
    job = Job(
        id="job_01hxyz", worker_id="wkr_a", tenant_id="ten_a", status=Status.RUNNING, trigger=Trigger.MANUAL,
        priority=5, input_json="{}", triggered_by="usr_a", created_at=NOW - timedelta(seconds=200),
        started_at=NOW - timedelta(seconds=3), completed_at=None, output_json=None, error=None, scheduled_at=None,
        attempt=1, max_attempts=1, cancel_requested_at=None, cancelled_by=None, progress_json=None,
        retry_of=None, queue="q_old", run_no=4, waits_for=None, run_at=None, published_at=NOW, node_id=None,
        first_run_no=4,
    )  # fmt: skip
    return LockedRun(
        job=job, claim_id="c", losses=0, node_losses=0, queue="q_now", fails_when_lost=False, elapsed_ms=3000
    )


def outcome_of(event: str, running: LockedRun) -> RunOutcome:
    def own(ending: Ending, **rest: Any) -> RunOutcome:
        return RunOutcome(run=running.job.run, ending=ending, elapsed_ms=1, **rest)

    killed: dict[str, Any] = {"error": "Timeout: t", "how": " (its process was killed)"}
    return {
        "completed": lambda: own(Ending.COMPLETED, output_json='{"a":1}'),
        "failed": lambda: own(Ending.FAILED, error="ValueError: v", error_id="e"),
        "stopped": lambda: own(Ending.CANCELLED, output_json='{"kept":1}'),
        "retried": lambda: own(Ending.RETRIED, delay_seconds=5.0),
        "deferred": lambda: own(Ending.DEFERRED, delay_seconds=7.0, reason="later"),
        "slept": lambda: own(Ending.WAITED, wait=Wait(condition=WaitCondition.TIME, timeout_seconds=9.0)),
        "released": lambda: own(Ending.RELEASED, has_begun=False),
        "lost": lambda: run_outcome.of_lost_run(running, error="WorkerLost: x"),
        "killed": lambda: run_outcome.of_killed_run(running, retry=None, **killed),
    }[event]()


@pytest.mark.parametrize(
    ("event", "closing"),
    [
        ("completed", (LogLevel.INFO, f"Handler completed in {DURATION}")),
        ("failed", (LogLevel.ERROR, f"Handler failed after {DURATION}")),
        ("stopped", (LogLevel.WARN, f"Handler cancelled after {DURATION}")),
        ("retried", (LogLevel.ERROR, f"Handler failed after {DURATION}")),
        ("deferred", (LogLevel.INFO, "Handler retries later, in 7 s: later")),
        ("slept", (LogLevel.INFO, "Handler waits for 9 s")),
        ("killed", (LogLevel.ERROR, f"Handler failed after {DURATION} (its process was killed)")),
        ("lost", None),
        ("released", None),
    ],
)
def test_the_closing_line_says_how_a_run_ended(
    running: LockedRun, event: str, closing: tuple[LogLevel, str] | None
) -> None:
    outcome = outcome_of(event, running)
    assert outcome.closing == closing
    assert outcome.closing_if_stopped == f"Handler %s after %s{outcome.how}"


def test_the_only_run_of_a_completed_job_needs_no_row_of_its_own(running: LockedRun) -> None:
    assert EndedRun.of(running.job, outcome_of("completed", running), claim_id="c").is_plain
    later = replace(running.job, first_run_no=2)
    assert EndedRun.of(later, outcome_of("completed", running), claim_id="c").stored_outcome == "completed"
    assert (
        EndedRun.of(running.job, outcome_of("lost", replace(running, losses=9)), claim_id="c").stored_outcome == "lost"
    )
    assert EndedRun.of(running.job, outcome_of("retried", running), claim_id="c").stored_outcome == "retried"


def test_the_time_between_attempts_is_none_of_a_run_and_that_of_a_wait_is(running: LockedRun) -> None:
    job = replace(running.job, first_started_at=NOW)
    assert next_values(job, outcome_of("retried", running)).first_started_at is None
    assert next_values(job, outcome_of("slept", running)).first_started_at == NOW
