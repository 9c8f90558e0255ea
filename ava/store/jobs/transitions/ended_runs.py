"""Ended runs, and the parameters of the statements that write their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ava.domain.jobs.job import Job, JobKey, LogLevel, LogLine, Status
from ava.domain.jobs.run_outcome import Ending, RunOutcome, RunValues, next_values
from ava.store.engine.statement import array, text_array
from ava.store.jobs import rows
from ava.store.jobs.transitions.log_lines import columns, rows_of


@dataclass(frozen=True, kw_only=True)
class EndedRun:
    outcome: RunOutcome
    values: RunValues
    #: Part of the fencing token.
    claim_id: str | None
    #: Log lines that are not stored yet, without the closing line.
    lines: Sequence[LogLine] = ()
    #: Stored if the outcome has one. For a stopped job its message is replaced.
    closing: LogLine | None = None
    #: Stored only if the job was asked to stop: the opening line of a run whose claim may not have stored it.
    opening: LogLine | None = None
    progress_json: str | None = None
    #: Start of the handler, for a run that shares its claim; becomes the job's start. None: no change.
    began_at: datetime | None = None

    @classmethod
    def of(cls, job: Job, outcome: RunOutcome, **rest: Any) -> EndedRun:
        """Return the end of a run of `job`, given as the run's claim returned it."""
        return cls(outcome=outcome, values=next_values(job, outcome), **rest)

    @property
    def key(self) -> JobKey:
        return JobKey(self.outcome.run.tenant_id, self.outcome.run.job_id)

    @property
    def all_lines(self) -> Sequence[LogLine]:
        """Return the lines that an ordinary end stores."""
        return self.lines if self.closing is None or self.outcome.closing is None else [*self.lines, self.closing]

    @property
    def is_final(self) -> bool:
        return self.values.status in (Status.COMPLETED, Status.FAILED)

    @property
    def is_plain(self) -> bool:
        """Return True in the usual case, which has a separate statement: a final status and no row for `job_runs`."""
        return self.is_final and self.stored_outcome is None

    @property
    def stored_outcome(self) -> str | None:
        """Return the outcome for `job_runs`; None if the job's row describes the run.

        `job_runs` has every run of a job with several runs, and every lost run.
        """
        outcome = self.outcome
        if outcome.losses is not None and outcome.ending is Ending.FAILED:
            return Ending.LOST.value
        if self.values.status is Status.QUEUED or self.values.has_earlier_run:
            return outcome.ending.value
        return None

    @property
    def seconds(self) -> float | None:
        """Return the handler's duration, for a run that shares its claim; otherwise None."""
        if self.began_at is None or self.closing is None:
            return None
        return (self.closing.ts - self.began_at).total_seconds()


def in_lock_order(ended: Sequence[EndedRun]) -> list[EndedRun]:
    # By id, as a bulk cancel locks the rows.
    return sorted(ended, key=lambda each: each.outcome.run.job_id)


def _fence(ended: EndedRun) -> dict[str, object]:
    return {**rows.run_parameters(ended.outcome.run), "held_claim_id": ended.claim_id}


def end_parameters(ended: EndedRun) -> dict[str, object]:
    outcome, values = ended.outcome, ended.values
    return {
        **_fence(ended),
        "status": values.status.value,
        "error": outcome.error,
        "error_id": outcome.error_id,
        "output": outcome.output_json,
        "output_bytes": rows.large_bytes(outcome.output_json),
        "progress": ended.progress_json,
        "cpu_us": values.cpu_us,
        "peak_memory_mb": values.peak_memory_mb,
        "began_at": ended.began_at,
        "seconds": ended.seconds,
        **columns(rows_of(ended.all_lines)),
    }


def _shared_parameters(ended: Sequence[EndedRun]) -> dict[str, object]:
    usages = [each.outcome.usage for each in ended]
    return {
        "run_cpu_us": text_array([each.cpu_us for each in usages]),
        "run_peaks": text_array([each.peak_memory_mb for each in usages]),
        "run_waits": text_array([each.values.run_wait_ms for each in ended]),
        "tenants": text_array([each.outcome.run.tenant_id for each in ended]),
        "ids": array([str(rows.job_uuid(each.outcome.run.job_id)) for each in ended]),
        "run_nos": array([str(each.outcome.run.run_no) for each in ended]),
        "claim_ids": text_array([each.claim_id for each in ended]),
        "progresses": text_array([each.progress_json for each in ended]),
        "cpu_us": text_array([each.values.cpu_us for each in ended]),
        "peaks": text_array([each.values.peak_memory_mb for each in ended]),
        "losses": text_array([each.outcome.losses for each in ended]),
        "node_losses": text_array([each.outcome.node_losses for each in ended]),
        "queues": text_array([each.outcome.queue for each in ended]),
    }


def _output_parameters(ended: Sequence[EndedRun]) -> dict[str, object]:
    return {
        "began": text_array([each.began_at for each in ended]),
        "seconds": text_array([each.seconds for each in ended]),
        "outputs": text_array([each.outcome.output_json for each in ended]),
        "output_bytes": text_array([rows.large_bytes(each.outcome.output_json) for each in ended]),
    }


def _lines_parameters(ended: Sequence[EndedRun], lines: Callable[[EndedRun], Sequence[LogLine]]) -> dict[str, object]:
    owned = [(each, row) for each in ended for row in rows_of(lines(each))]
    return {
        "owner_tenants": text_array([each.outcome.run.tenant_id for each, _ in owned]),
        "owners": array([str(rows.job_uuid(each.outcome.run.job_id)) for each, _ in owned]),
        **columns([row for _, row in owned]),
    }


def final_parameters(ended: Sequence[EndedRun]) -> dict[str, object]:
    return {
        **_shared_parameters(ended),
        **_output_parameters(ended),
        "outcomes": text_array([each.stored_outcome for each in ended]),
        "statuses": array([each.values.status.value for each in ended]),
        "errors": text_array([each.outcome.error for each in ended]),
        "error_ids": text_array([each.outcome.error_id for each in ended]),
        **_lines_parameters(ended, lambda each: each.all_lines),
    }


def requeue_parameters(ended: Sequence[EndedRun]) -> dict[str, object]:
    values = [each.values for each in ended]
    return {
        **_shared_parameters(ended),
        "waits_for": text_array([None if each.waits_for is None else each.waits_for.value for each in values]),
        "delays": text_array([_interval(each.delay_seconds) for each in values]),
        "ready_in": text_array([_interval(each.ready_in_seconds) for each in values]),
        "attempts": text_array([each.attempt for each in values]),
        "first_run_nos": text_array([each.first_run_no for each in values]),
        "first_started": text_array([each.first_started_at for each in values]),
        "outcomes": text_array([each.stored_outcome for each in ended]),
        "run_attempts": text_array([each.run_attempt for each in values]),
        "run_started": text_array([each.run_started_at for each in values]),
        **_lines_parameters(ended, lambda each: each.all_lines),
    }


def _interval(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:f} seconds"


def stopped_parameters(ended: Sequence[EndedRun]) -> dict[str, object]:
    owned = [(each, row) for each in ended for row in rows_of(_lines_if_stopped(each))]
    closings = [each.closing is not None and row[-1].seq == each.closing.seq for each, row in owned]
    given = [row[:-1] if is_closing else row for (_, row), is_closing in zip(owned, closings, strict=True)]
    return {
        **_shared_parameters(ended),
        **_output_parameters(ended),
        "outcomes": text_array([_outcome_if_stopped(each) for each in ended]),
        "first_run_nos": text_array([each.values.first_run_no for each in ended]),
        "owner_tenants": text_array([each.outcome.run.tenant_id for each, _ in owned]),
        "owners": array([str(rows.job_uuid(each.outcome.run.job_id)) for each, _ in owned]),
        # The statement adds the level and message of the closing line.
        **columns([row for _, row in owned]),
        "levels": text_array(["".join(line.level.value[0] for line in row) for row in given]),
        "msgs": text_array([text_array([line.msg for line in row]) for row in given]),
        "closings": text_array(
            [
                each.outcome.closing_if_stopped if is_closing else None
                for (each, _), is_closing in zip(owned, closings, strict=True)
            ]
        ),
    }


def _outcome_if_stopped(ended: EndedRun) -> str | None:
    """Return the outcome for `job_runs`; `stopped` is replaced by the job's status."""
    stored = ended.stored_outcome
    if stored in (Ending.LOST, Ending.INTERRUPTED):
        return stored
    return "stopped" if ended.values.has_earlier_run else None


def _lines_if_stopped(ended: EndedRun) -> Sequence[LogLine]:
    return [line for line in (ended.opening, *ended.lines, ended.closing) if line is not None]


def closing_line(seq: int, ts: datetime, outcome: RunOutcome) -> LogLine:
    """Return the closing line of a run. Its message is empty if the outcome has none."""
    level, msg = outcome.closing or (LogLevel.WARN, "")
    return LogLine(seq=seq, ts=ts, level=level, msg=msg)
