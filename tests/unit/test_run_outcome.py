"""The values that the end of a run writes, for each outcome, compared with those of the statements that decided in SQL.

`recorded_outcomes.json` was recorded from them on PostgreSQL, over all combinations of what decides: each event has the
distinct results, with the inputs of each where they differ.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ava.domain.jobs import run_outcome
from ava.domain.jobs.job import Job, LogLevel, Status, Trigger
from ava.domain.jobs.retry import Retry
from ava.domain.jobs.run_outcome import DURATION, Ending, LockedRun, RunOutcome, next_values
from ava.domain.jobs.usage import RunUsage
from ava.domain.jobs.waits import Wait, WaitCondition
from ava.store.jobs.transitions.ended_runs import EndedRun

RECORDED: dict[str, list[dict[str, Any]]] = json.loads(Path(__file__).with_name("recorded_outcomes.json").read_text())
NOW = datetime(2026, 11, 30, tzinfo=UTC)
USED = RunUsage(cpu_us=500, peak_memory_mb=30)
#: What the recorded rows had; `losses` and `attempt` differ from event to event.
DIMENSIONS: dict[str, list[Any]] = {
    "key": ["none", "limit", "rate"],
    "waited": [False, True],
    "first": ["this", "earlier"],
    "stop": ["none", "caller", "system", "deadline"],
    "used": [False, True],
    "fails_when_lost": [False, True],
}


def running(given: dict[str, Any]) -> LockedRun:
    attempt, max_attempts = given["attempt"]
    job = Job(
        id="job_01hxyz", worker_id="wkr_a", tenant_id="ten_a", status=Status.RUNNING, trigger=Trigger.MANUAL,
        priority=5, input_json="{}", triggered_by="usr_a", created_at=NOW - timedelta(seconds=200),
        started_at=NOW - timedelta(seconds=3), completed_at=None, output_json=None, error=None, scheduled_at=None,
        attempt=attempt, max_attempts=max_attempts, cancel_requested_at=None, cancelled_by=None, progress_json=None,
        retry_of=None, queue="q_old", run_no=4, waits_for=None, run_at=None, published_at=NOW, node_id=None,
        first_run_no=4 if given["first"] == "this" else 2,
        first_started_at=NOW - timedelta(seconds=100) if given["waited"] else None,
        cpu_us=1000 if given["used"] else None, peak_memory_mb=20 if given["used"] else None,
        ready_at=NOW - timedelta(seconds=4),
    )  # fmt: skip
    losses, node_losses = given["losses"]
    return LockedRun(
        job=job, claim_id="c", losses=losses, node_losses=node_losses, queue="q_now",
        fails_when_lost=given["fails_when_lost"], elapsed_ms=3000,
    )  # fmt: skip


def outcome_of(event: str, job: LockedRun) -> RunOutcome:
    def own(ending: Ending, **rest: Any) -> RunOutcome:
        return RunOutcome(run=job.job.run, ending=ending, elapsed_ms=1, usage=USED, **rest)

    def wait(condition: WaitCondition, seconds: float | None) -> RunOutcome:
        return own(Ending.WAITED, wait=Wait(condition=condition, timeout_seconds=seconds))

    of_lost, of_interrupted = run_outcome.of_lost_run, run_outcome.of_interrupted_run
    error = "WorkerLost: x"
    killed: dict[str, Any] = {"error": "Timeout: t", "how": " (its process was killed)", "usage": USED}
    return {
        "completed": lambda: own(Ending.COMPLETED, output_json='{"a":1}'),
        "completed_together": lambda: own(Ending.COMPLETED, output_json='{"a":1}'),
        "failed": lambda: own(Ending.FAILED, error="ValueError: v", error_id="e"),
        "stopped": lambda: own(Ending.CANCELLED, output_json='{"kept":1}'),
        "retried": lambda: own(Ending.RETRIED, delay_seconds=5.0),
        "retried_at_once": lambda: own(Ending.RETRIED, delay_seconds=0.0),
        "deferred": lambda: own(Ending.DEFERRED, delay_seconds=7.0, reason="later"),
        "waited_for_children": lambda: wait(WaitCondition.ENDED, None),
        "waited_for_any_with_timeout": lambda: wait(WaitCondition.ANY, 9.0),
        "waited_for_event": lambda: wait(WaitCondition.EVENT, 9.0),
        "slept": lambda: wait(WaitCondition.TIME, 9.0),
        "released": lambda: RunOutcome(run=job.job.run, ending=Ending.RELEASED, has_begun=False),
        "lost": lambda: of_lost(job, error=error, usage=USED),
        "interrupted": lambda: of_interrupted(job, usage=USED),
        "not_begun": lambda: of_interrupted(job, has_begun=False, usage=USED),
        "lost_with_node": lambda: of_lost(job, error="WorkerLost: n", is_of_node=True),
        "killed": lambda: run_outcome.of_killed_run(job, retry=None, **killed),
        "killed_with_retries": lambda: run_outcome.of_killed_run(job, retry=Retry(max=3, first_seconds=4), **killed),
        "lease_expired": lambda: of_lost(job, error="WorkerLost: s"),
        "lease_unused": lambda: of_interrupted(job, has_begun=False),
    }[event]()


def cases() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield each event, what was given and what was recorded."""
    for event, results in RECORDED.items():
        dimensions = DIMENSIONS | {
            "losses": _values(results, "losses", [1, 1]),
            "attempt": _values(results, "attempt", [2, 3]),
        }
        for values in itertools.product(*dimensions.values()):
            given = dict(zip(dimensions, values, strict=True))
            found = [each["then"] for each in results if all(given[name] in of for name, of in each["when"].items())]
            if found:
                yield event, given, found[0]


def _values(results: list[dict[str, Any]], name: str, default: list[int]) -> list[Any]:
    found = [value for each in results for value in each["when"].get(name, [])]
    return [value for n, value in enumerate(found) if value not in found[:n]] or [default]


#: A column that the end leaves as it was.
SAME = object()


def unless(is_same: bool, value: Any) -> Any:
    return SAME if is_same else value


def written(job: LockedRun, outcome: RunOutcome, *, has_rate: bool) -> dict[str, Any]:
    """Return what an ordinary end writes, in the form of the recorded results."""
    values, before = next_values(job.job, outcome), job.job
    is_queued, used = values.status is Status.QUEUED, outcome.usage == USED
    # The statement adds the permit, because the limits of a running job may change.
    reason = values.waits_for or ("permit" if is_queued and has_rate else None)
    has_waited = before.first_started_at is not None
    assert values.cpu_us == ((before.cpu_us or 0) + 500 if used else before.cpu_us)
    columns = {
        "status": values.status.value,
        "waits_for": unless(reason is None, str(reason)),
        "run_in": unless(values.delay_seconds is None, round(values.delay_seconds or 0)),
        "error": unless(outcome.error is None or is_queued, outcome.error),
        "output": unless(outcome.output_json is None, outcome.output_json),
        "error_id": unless(outcome.error_id is None, True),
        "attempt": unless(values.attempt == before.attempt, values.attempt - before.attempt),
        "first_run_no": unless(values.first_run_no == before.first_run_no, values.first_run_no),
        "first_started_at": unless(
            not is_queued or values.first_started_at == before.first_started_at, values.first_started_at and "this run"
        ),
        "usage": "added" if used else "same",
        "ready_in": unless(values.ready_in_seconds is None, round(values.ready_in_seconds or 0)),
        "run": unless(not is_queued or not outcome.has_begun, True),
        "ran": {Ending.WAITED: "added", Ending.RETRIED: unless(not has_waited, "none")}.get(outcome.ending, SAME),
        "losses": unless(outcome.losses in (None, job.losses), (outcome.losses or 0) - job.losses),
        "node_losses": unless(
            outcome.node_losses in (None, job.node_losses), (outcome.node_losses or 0) - job.node_losses
        ),
        "queue": unless(outcome.queue is None, outcome.queue),
    }
    return {name: value for name, value in columns.items() if value is not SAME}


def test_each_recorded_result_is_what_the_function_decides() -> None:
    count = 0
    for event, given, then in cases():
        if given["stop"] != "none":
            continue
        job = running(given)
        assert written(job, outcome_of(event, job), has_rate=given["key"] == "rate") == then, (event, given)
        count += 1
    assert count > 500


def test_a_stopped_job_writes_what_was_recorded_whatever_its_run_did() -> None:
    """`end_stopped` takes the status and the error from the row, and these values from the run."""
    count = 0
    for event, given, then in cases():
        if given["stop"] == "none" or given["key"] != "none":
            continue
        job = running(given)
        outcome = outcome_of(event, job)
        values = next_values(job.job, outcome)
        assert then["status"] == ("failed" if given["stop"] == "deadline" else "cancelled")
        assert then.get("output") == outcome.output_json
        assert then.get("first_run_no", job.job.first_run_no) == values.first_run_no
        assert (then["usage"] == "added") == (outcome.usage == USED)
        assert then.get("losses", 0) == (0 if outcome.losses is None else outcome.losses - job.losses)
        assert then.get("queue") == outcome.queue
        count += 1
    assert count > 300


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
def test_the_closing_line_says_how_a_run_ended(event: str, closing: tuple[LogLevel, str] | None) -> None:
    job = running({"attempt": [1, 1], "losses": [0, 0], "first": "this", "waited": False, "used": False,
                   "fails_when_lost": False})  # fmt: skip
    outcome = outcome_of(event, job)
    assert outcome.closing == closing
    assert outcome.closing_if_stopped == f"Handler %s after %s{outcome.how}"


def test_the_only_run_of_a_completed_job_needs_no_row_of_its_own() -> None:
    job = running({"attempt": [1, 1], "losses": [0, 0], "first": "this", "waited": False, "used": False,
                   "fails_when_lost": False})  # fmt: skip
    assert EndedRun.of(job.job, outcome_of("completed", job), claim_id="c").is_plain
    later = replace(job.job, first_run_no=2)
    assert EndedRun.of(later, outcome_of("completed", job), claim_id="c").stored_outcome == "completed"
    assert EndedRun.of(job.job, outcome_of("lost", replace(job, losses=9)), claim_id="c").stored_outcome == "lost"
    assert EndedRun.of(job.job, outcome_of("retried", job), claim_id="c").stored_outcome == "retried"
