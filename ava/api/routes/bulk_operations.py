"""`/v1/ava/jobs/retry`, `/v1/ava/jobs/cancel`, `/v1/ava/operations`: operations on all jobs that match a filter."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context, request_id
from ava.api.http.operations import operation
from ava.api.http.paging import page_of
from ava.api.http.strict import NoBody
from ava.api.routes.audit import record_values
from ava.api.routes.streams import client_watch, waiting
from ava.api.schemas.bulk_operations import (
    BulkActionRequest,
    CancelManyBody,
    CountRecord,
    OperationListQuery,
    OperationListRequest,
    OperationQuery,
    OperationRecord,
    RetryManyBody,
    write_count,
    write_operation,
)
from ava.domain.jobs.bulk_operation import BulkKind, BulkOperation, BulkState
from ava.domain.jobs.job_filter import JobFilter

blueprint = Blueprint("operations", __name__, url_prefix="/v1/ava")

_HOW = (
    "The response is an operation. For up to 500 jobs it is `done` already; otherwise the dispatcher continues in "
    "batches of 500, newest jobs first. It handles each job at most once, also across crashes. With `dry_run` the "
    "response is 200 with the number of matching jobs."
)
#: The common declaration of the routes that start an operation.
STARTED: dict[str, Any] = {"record": OperationRecord(), "status": 202, "is_write": True, "takes_key": True}
_STARTING = STARTED | {"other_records": {200: CountRecord()}, "failures": (413, 415, 422)}


@blueprint.post("/jobs/retry")
@operation(
    summary="Retry many jobs",
    call=PublicCall(method="operations.retry", command="jobs retry"),
    description="Triggers a copy of each final job that matches the filter when the call arrives. Jobs of a worker "
    f"that accepts no jobs count as `failed`. {_HOW}",
    body=RetryManyBody(),
    **_STARTING,
)
def retry(body: BulkActionRequest, key: str | None) -> Response:
    return _start(BulkKind.RETRY, body, key)


@blueprint.post("/jobs/cancel")
@operation(
    summary="Cancel many jobs",
    call=PublicCall(method="operations.cancel", command="jobs cancel"),
    description="Cancels all queued and running jobs that match the filter when the call arrives. In `result`, "
    f"`cancelled` counts the queued jobs, `signalled` the running jobs, which were requested to stop. {_HOW}",
    body=CancelManyBody(),
    is_for_contained=True,
    **_STARTING,
)
def cancel(body: BulkActionRequest, key: str | None) -> Response:
    return _start(BulkKind.CANCEL, body, key)


def _start(kind: BulkKind, body: BulkActionRequest, key: str | None) -> Response:
    operations = context().bulk_operations
    if body.is_dry_run:
        record_values(filter=body.job_filter.as_record(), dry_run=True)
        return responses.data(write_count(operations.count(caller(), kind, body.job_filter)))
    return start_operation(kind, body.job_filter, key)


def start_operation(kind: BulkKind, job_filter: JobFilter, key: str | None) -> Response:
    """Start an operation on behalf of the caller. Returns the response with its record."""
    operations = context().bulk_operations
    started, is_replay = operations.start(caller(), kind, job_filter, request_id=request_id(), key=key)
    _record_operation(started)
    return responses.data(
        write_operation(started), 202, location=f"{blueprint.url_prefix}/operations/{started.id}", is_replay=is_replay
    )


def _record_operation(found: BulkOperation) -> None:
    """Record the filter and the counts in this request's audit entry."""
    record_values(filter=found.filter, state=found.state, total=found.total, done=found.done, failed=found.failed)


@blueprint.get("/operations")
@operation(
    summary="List operations",
    call=PublicCall(
        help="List bulk operations, newest first.",
        columns="id* kind* progress* filter state+ BY=created_by+ created_at+",
    ),
    description="Newest first. Operations are retained as long as jobs.",
    query=OperationListQuery(),
    record=OperationRecord(),
    is_list=True,
    reads_standby=True,
)
def list_operations(query: OperationListRequest) -> Response:
    found, total = context().bulk_operations.page(caller(), state=query.state, bounds=query.bounds)
    return page_of(query, found, total, write_operation)


@blueprint.get("/operations/<operation_id>")
@operation(
    summary="Show an operation",
    call=PublicCall(help="Show an operation with its current counts.", example="--follow"),
    description="The counts change with each batch. `wait` delays the response until the operation has ended, or "
    "for that number of seconds.",
    query=OperationQuery(),
    query_as="wait_seconds",
    record=OperationRecord(),
    failures=(404,),
)
def show(operation_id: str, wait_seconds: int | None) -> Response:
    found = context().bulk_operations.show(caller(), operation_id)
    if wait_seconds is not None and found.state is BulkState.RUNNING:
        with waiting():
            context().watches.wait(found.id, wait_seconds, client_watch(), tenant_id=found.tenant_id)
        found = context().bulk_operations.show(caller(), operation_id)
    return responses.data(write_operation(found))


@blueprint.post("/operations/<operation_id>/abort")
@operation(
    summary="Abort an operation",
    call=PublicCall(help="Abort operations: they act on no more jobs. Their effects so far are not undone."),
    description="Stops the operation after its current batch. The jobs of earlier batches stay changed.",
    body=NoBody(),
    may_be_empty=True,
    record=OperationRecord(),
    failures=(404, 409, 413, 415, 422),
    is_write=True,
)
def abort(operation_id: str) -> Response:
    aborted = context().bulk_operations.abort(caller(), operation_id)
    _record_operation(aborted)
    return responses.data(write_operation(aborted))
