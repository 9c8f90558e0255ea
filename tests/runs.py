"""Claims and ends of runs, as nodes write them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ava.domain.jobs.job import Job, LogLine, RunKey, Status, Trigger
from ava.domain.jobs.run_outcome import Ending, RunOutcome
from ava.store.engine.database import Connection
from ava.store.jobs.reads import lists
from ava.store.jobs.transitions import claim
from ava.store.jobs.transitions.ended_runs import EndedRun
from harness.api import NODE, Api

#: The id of the claims of `claim_by_node`.
CLAIM_ID = "00000000-0000-4000-8000-00000000000c"


def claim_by_node(api: Api, job: dict[str, Any], run_no: int = 1) -> bool:
    """Return True if a node gets a run of a job that the API shows."""
    run = RunKey(job["tenant_id"], job["id"], run_no)
    wanted = claim.Claim(run=run, worker_id=job["worker_id"], node_id=NODE, claim_id=CLAIM_ID)
    with api.database.connect() as connection:
        return claim.claim(connection, wanted) is not None


def stored_job(connection: Connection, job: Job) -> Job:
    """Return a job as it is stored now."""
    found = lists.show(connection, tenant_id=job.tenant_id, job_id=job.id)
    assert found
    return found


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
