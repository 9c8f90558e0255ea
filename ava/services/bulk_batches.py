"""Run batches of bulk operations: in the dispatcher, and for small operations in the API."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from ava.broker.control import Control
from ava.domain import ids
from ava.domain.access.actor import AuditRecord
from ava.domain.jobs import graphs
from ava.domain.jobs.bulk_operation import BulkKind, BulkOperation, BulkState
from ava.domain.jobs.job import Job, JobSpec, Status
from ava.domain.jobs.new_job import JobOrRefusal
from ava.errors import TooMany
from ava.services import job_retries
from ava.services.fleet import revoke_all
from ava.services.jobs import Jobs
from ava.store.containments import records
from ava.store.engine import clock
from ava.store.engine.database import Connection, Database
from ava.store.jobs import bulk_operations
from ava.store.jobs.reads import batches
from ava.store.jobs.transitions import cancel, contain
from ava.store.jobs.transitions.cancel import CancelRequest
from ava.store.reports import audit

BATCH = 500
#: Retry delays if the tenant has too many queued jobs, and after a failed batch.
_FULL_SECONDS = 2.0
_FAILED_SECONDS = 5.0

_RETRY_FROM = 'retry it with {"from": "failed"}'

_AfterCommit = Callable[[], None]


class BulkBatches:
    """Runs batches. Any number of processes may run them concurrently, because each batch locks its operation.

    The jobs and the operation change in one transaction: an uncommitted batch has no effect.
    """

    def __init__(self, database: Database, jobs: Jobs, control: Control) -> None:
        self._database = database
        self._jobs = jobs
        self._control = control

    def run_next(self) -> int | None:
        """Run a batch of the longest-waiting operation.

        Return the number of jobs, or None if no operation is due. An operation with a failed batch is postponed.
        """
        operation = None
        try:
            with self._database.transaction() as connection:
                operation = bulk_operations.claim_due(connection)
                if operation is None:
                    return None
                moved, after_commit = self._run(connection, operation)
                if moved.state is BulkState.DONE:
                    (uuid,) = clock.new_uuids(connection, 1)
                    audit.insert(connection, {uuid: _ending(moved)})
        except Exception:
            if operation is not None:
                with self._database.connect() as connection:
                    bulk_operations.postpone(connection, operation, seconds=_FAILED_SECONDS)
            raise
        after_commit()
        return moved.done + moved.failed - operation.done - operation.failed

    def run(self, given: BulkOperation) -> BulkOperation | None:
        """Run a batch of one operation. Return the updated operation, or None if it has already ended."""
        with self._database.transaction() as connection:
            operation = bulk_operations.claim(connection, given)
            if operation is None:
                return None
            moved, after_commit = self._run(connection, operation)
        after_commit()
        return moved

    def _run(self, connection: Connection, operation: BulkOperation) -> tuple[BulkOperation, _AfterCommit]:
        runs = {BulkKind.RETRY: self._retry, BulkKind.CANCEL: self._cancel, BulkKind.LIFT: self._lift}
        return runs[operation.kind](connection, operation)

    def _lift(self, connection: Connection, operation: BulkOperation) -> tuple[BulkOperation, _AfterCommit]:
        """Release or cancel held jobs, oldest first, unless another containment covers them.

        No position is needed, because each batch removes its jobs from the held ones.
        """
        lifted = records.show(connection, tenant_id=operation.tenant_id, containment_id=operation.containment_id or "")
        count, limit = 0, BATCH
        cancelled: list[Job] = []
        if lifted is not None and operation.cancels_held:
            found = contain.uncovered(connection, lifted.scope, limit=limit)
            requests = [
                CancelRequest(
                    tenant_id=tenant_id,
                    job_id=ids.encode("job", uuid),
                    cancelled_by=operation.caller.user_id,
                    status=Status.QUEUED,
                )
                for tenant_id, uuid in found
            ]
            cancelled, count = cancel.cancel_each(connection, requests), len(found)
        elif lifted is not None:
            count = contain.release(connection, tenant_id=lifted.tenant_id, limit=limit)
        moved = bulk_operations.move(connection, operation, done=count, is_done=count < limit)
        return moved, lambda: revoke_all(self._database, self._control, cancelled)

    def _cancel(self, connection: Connection, operation: BulkOperation) -> tuple[BulkOperation, _AfterCommit]:
        found = batches.next_ids(
            connection,
            tenant_id=operation.tenant_id,
            job_filter=operation.job_filter,
            limit=BATCH,
            before_id=operation.before_id,
            among=operation.kind.statuses,
        )
        requests = [
            CancelRequest(
                tenant_id=operation.tenant_id,
                job_id=job_id,
                cancelled_by=operation.caller.user_id,
                status=operation.job_filter.status,
            )
            for job_id in found.job_ids
        ]
        cancelled = cancel.cancel_each(connection, requests)
        moved = bulk_operations.move(
            connection,
            operation,
            done=len(cancelled),
            signalled=sum(job.status is Status.RUNNING for job in cancelled),
            before_id=found.before_id,
            is_done=found.before_id is None,
        )
        return moved, lambda: revoke_all(self._database, self._control, cancelled)

    def _retry(self, connection: Connection, operation: BulkOperation) -> tuple[BulkOperation, _AfterCommit]:
        found = batches.next_jobs(
            connection,
            tenant_id=operation.tenant_id,
            job_filter=operation.job_filter,
            limit=BATCH,
            before_id=operation.before_id,
            among=operation.kind.statuses,
        )
        # Unresolved inputs still refer to outputs; such jobs can only be retried with their graphs.
        retried = [job for job in found.jobs if not graphs.is_unresolved(job)]
        specs = job_retries.specs(connection, operation.caller, retried, self._jobs.rules)
        outcomes, refusal = self._make(connection, operation, specs)
        created = [outcome for outcome in outcomes if isinstance(outcome, Job)]
        taken = len(outcomes)
        is_whole = taken == len(specs)
        passed = found.jobs if is_whole else found.jobs[: found.jobs.index(retried[taken])]
        moved = bulk_operations.move(
            connection,
            operation,
            done=len(created),
            failed=len(passed) - len(created),
            reason=refusal or _unrunnable(specs[:taken], outcomes[::-1]) or _unresolved(passed),
            before_id=found.before_id if is_whole and found.before_id else _last_id(passed),
            is_done=is_whole and found.before_id is None,
            pause_seconds=0.0 if is_whole else _FULL_SECONDS,
        )
        return moved, lambda: self._jobs.publish(created)

    def _make(
        self, connection: Connection, operation: BulkOperation, specs: Sequence[JobSpec]
    ) -> tuple[list[JobOrRefusal], str | None]:
        """Create jobs for as many of the newest specs as the tenant may have queued, the oldest first to start first.

        Return the outcomes of these specs, and why specs were left.
        """
        caller, creator = operation.caller, self._jobs.creator
        size, refusal = len(specs), None
        while size:
            new = creator.prepare(
                tenant_id=caller.tenant_id,
                user_id=caller.user_id,
                specs=specs[:size][::-1],
                identities=[operation.created_by],
            )
            outcomes = creator.create(connection, new, in_part=False)
            too_many = next((outcome for outcome in outcomes if isinstance(outcome, TooMany)), None)
            if too_many is None:
                return outcomes, refusal
            size, refusal = size // 2, str(too_many)
        return [], refusal


def _last_id(jobs: Sequence[Job]) -> str | None:
    return jobs[-1].id if jobs else None


def _unrunnable(specs: Sequence[JobSpec], outcomes: Sequence[JobOrRefusal]) -> str | None:
    refused = sorted(
        {spec.worker_id for spec, outcome in zip(specs, outcomes, strict=True) if not isinstance(outcome, Job)}
    )
    if not refused:
        return None
    others = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return f"{refused[0]}{others} refuses these jobs: it is deprecated or deleted, or its schema refuses the input."


def _unresolved(jobs: Sequence[Job]) -> str | None:
    """Return why jobs with unresolved inputs were not retried; None without any."""
    found = next((job.id for job in jobs if graphs.is_unresolved(job)), None)
    if found is None:
        return None
    return f"{found} never had an input, because outputs that it refers to were missing; {_RETRY_FROM}."


def _ending(operation: BulkOperation) -> AuditRecord:
    changes = {
        "filter": [None, dict(operation.filter)],
        "state": [BulkState.RUNNING, operation.state],
        "total": [None, operation.total],
        "done": [0, operation.done],
        "failed": [0, operation.failed],
    }
    return AuditRecord(
        tenant_id=operation.tenant_id,
        actor=operation.created_by,
        role=operation.role.header,
        action="operations.done",
        target=operation.id,
        status=200,
        address="dispatcher",
        request_id=operation.request_id,
        at=operation.completed_at or datetime.now(UTC),
        changes_json=json.dumps(changes),
    )
