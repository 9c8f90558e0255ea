"""Ends of runs, as the process of a run knows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ava.domain.jobs.job import Job, LogLine, RunKey, Status, Trigger
from ava.domain.jobs.run_outcome import Ending, RunOutcome
from ava.store.engine.database import Connection
from ava.store.jobs.moves import claim
from ava.store.jobs.moves.ended_runs import EndedRun


def ended(
    connection: Connection,
    run: RunKey,
    ending: Ending = Ending.COMPLETED,
    lines: Sequence[LogLine] = (),
    *,
    claim_id: str | None = None,
    progress_json: str | None = None,
    began_at: datetime | None = None,
    **outcome: Any,
) -> EndedRun:
    """Return the end of a run; the last of `lines` is its closing line."""
    found = RunOutcome(run=run, ending=ending, **{"elapsed_ms": 1, **outcome})
    return EndedRun.of(
        claim.show(connection, run) or first_run(run),
        found,
        claim_id=claim_id,
        lines=lines[:-1],
        closing=lines[-1] if lines else None,
        progress_json=progress_json,
        began_at=began_at,
    )


def first_run(run: RunKey) -> Job:
    """Return a job as the claim of its first run leaves it."""
    return Job(
        id=run.job_id, worker_id="wkr_a", tenant_id=run.tenant_id, status=Status.RUNNING, trigger=Trigger.MANUAL,
        priority=5, input_json="{}", triggered_by="usr_a", created_at=datetime.now(UTC), started_at=datetime.now(UTC),
        completed_at=None, output_json=None, error=None, scheduled_at=None, attempt=1, max_attempts=1,
        cancel_requested_at=None, cancelled_by=None, progress_json=None, retry_of=None, queue="ava",
        run_no=run.run_no, waits_for=None, run_at=None, published_at=None, node_id=None, first_run_no=run.run_no,
    )  # fmt: skip
