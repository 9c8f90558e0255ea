"""Use cases of bulk operations: count, start, show, list and abort."""

from __future__ import annotations

import logging
import time

from ava.domain import ids
from ava.domain.access.caller import Caller
from ava.domain.counts import PageBounds
from ava.domain.jobs.bulk_operation import BulkKind, BulkOperation, BulkState, JobCount
from ava.domain.jobs.job_filter import JobFilter
from ava.domain.limits.table import RUNNING_OPERATIONS
from ava.errors import DatabaseUnavailable, OperationEnded, OperationNotFound, TooMany
from ava.services import replays
from ava.services.bulk_batches import BATCH, BulkBatches
from ava.store.engine.database import Connection, Database
from ava.store.jobs import bulk_operations, idempotency
from ava.store.jobs.reads import batches

_log = logging.getLogger(__name__)

MAX_COUNTED_BEFORE = 1_000_000
#: Maximum time of an operation in the call; then the dispatcher continues it.
_CALL_SECONDS = 10.0
#: Retry-After in seconds for a caller with too many operations.
_RETRY_AFTER_SECONDS = 5


class BulkOperations:
    def __init__(self, database: Database, bulk_batches: BulkBatches) -> None:
        self._database = database
        self._batches = bulk_batches

    def count(self, caller: Caller, kind: BulkKind, job_filter: JobFilter) -> JobCount:
        """Return the number of jobs for an operation."""
        with self._database.connect() as connection:
            total, is_exact = _count(connection, caller, kind, job_filter)
        return JobCount(total=total, is_exact=is_exact)

    def start(
        self, caller: Caller, kind: BulkKind, job_filter: JobFilter, *, request_id: str, key: str | None = None
    ) -> tuple[BulkOperation, bool]:
        """Start an operation. A small one is finished on return; the dispatcher runs the others.

        Return it, and True for a repeated call. Raise `TooMany` if the tenant has too many running operations,
        `IdempotencyKeyReused`.
        """
        with self._database.transaction() as connection:
            asked = [kind, job_filter.as_record()]
            if (earlier := replays.reserve(connection, caller, key, kind="operation", asked=asked)) is not None:
                return _show(connection, caller, ids.encode("op", earlier)), True
            if not bulk_operations.has_capacity(
                connection, tenant_id=caller.tenant_id, max_operations=RUNNING_OPERATIONS.value
            ):
                sentence = f"The tenant has {RUNNING_OPERATIONS.value} running operations; wait for one, or abort it."
                raise TooMany(RUNNING_OPERATIONS.message(sentence), retry_after_seconds=_RETRY_AFTER_SECONDS)
            total, is_exact = _count(connection, caller, kind, job_filter)
            operation = bulk_operations.create(
                connection, caller, kind=kind, job_filter=job_filter, total=total, request_id=request_id
            )
            idempotency.record(connection, tenant_id=caller.tenant_id, key=key, made=[operation.id])
        return (self._run_small(operation) if is_exact and total <= BATCH else operation), False

    def _run_small(self, operation: BulkOperation) -> BulkOperation:
        until = time.monotonic() + _CALL_SECONDS
        found = operation
        try:
            while found.state is BulkState.RUNNING and time.monotonic() < until:
                moved = self._batches.run(operation)
                if moved is None or moved.before_id == found.before_id:
                    # The dispatcher has ended it, or it waits for free quota of queued jobs.
                    return moved or self._show(operation.caller, operation.id)
                found = moved
        except DatabaseUnavailable as error:
            # The operation is stored, so the dispatcher continues.
            _log.warning("Operation not finished in its call: %s", error, extra={"operation_id": operation.id})
        return found

    def _show(self, caller: Caller, operation_id: str) -> BulkOperation:
        with self._database.connect() as connection:
            return _show(connection, caller, operation_id)

    def show(self, caller: Caller, operation_id: str) -> BulkOperation:
        """Return an operation. Raise `OperationNotFound`."""
        return self._show(caller, operation_id)

    def page(self, caller: Caller, *, state: BulkState | None, bounds: PageBounds) -> tuple[list[BulkOperation], int]:
        with self._database.connect() as connection:
            return bulk_operations.page(connection, tenant_id=caller.tenant_id, state=state, bounds=bounds)

    def abort(self, caller: Caller, operation_id: str) -> BulkOperation:
        """Abort an operation; processed jobs stay as they are. Raise `OperationEnded`, `OperationNotFound`."""
        with self._database.connect() as connection:
            aborted = bulk_operations.abort(connection, tenant_id=caller.tenant_id, operation_id=operation_id)
        if aborted is None:
            raise OperationEnded(f"The operation has already ended: {self._show(caller, operation_id).state}.")
        return aborted


def _count(connection: Connection, caller: Caller, kind: BulkKind, job_filter: JobFilter) -> tuple[int, bool]:
    return batches.count(
        connection, tenant_id=caller.tenant_id, job_filter=job_filter, among=kind.statuses, max_jobs=MAX_COUNTED_BEFORE
    )


def _show(connection: Connection, caller: Caller, operation_id: str) -> BulkOperation:
    found = bulk_operations.show(connection, tenant_id=caller.tenant_id, operation_id=operation_id)
    if found is None:
        raise OperationNotFound
    return found
