"""`/v1/ava/errors`: failed jobs, grouped by error."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.paging import page_of
from ava.api.http.strict import NoBody
from ava.api.routes.audit import record_pairs
from ava.api.routes.bulk_operations import STARTED, start_operation
from ava.api.schemas.error_groups import (
    ErrorGroupRecord,
    ErrorListQuery,
    ErrorListRequest,
    ErrorQuery,
    write_error_group,
)
from ava.domain.error_group import ErrorStatus
from ava.domain.jobs.bulk_operation import BulkKind

blueprint = Blueprint("errors", __name__, url_prefix="/v1/ava/errors")

_CHANGE: dict[str, Any] = {
    "body": NoBody(),
    "may_be_empty": True,
    "record": ErrorGroupRecord(),
    "failures": (404, 413, 415, 422),
    "is_write": True,
}


@blueprint.get("")
@operation(
    summary="List error groups",
    call=PublicCall(
        help="List groups of failed jobs, the latest seen first.",
        columns="id* worker_id JOBS=count LAST=last_seen_age ERROR=error_sentence! status+ "
        "FIRST_SEEN=first_seen_at+ LAST_SEEN=last_seen_at+ LAST_JOB=sample_job_id+",
        tool="list_errors",
    ),
    description="Groups of failed jobs with the same worker, kind of error and place: the handler's innermost module, "
    "function and line, or without one (`Timeout`, runs over HTTP) the message without numbers, ids and addresses. "
    "Most recently seen first; `count` is for the time range.",
    query=ErrorListQuery(),
    record=ErrorGroupRecord(),
    is_list=True,
    reads_standby=True,
)
def list_errors(query: ErrorListRequest) -> Response:
    found, total = context().admin.errors.page(
        caller(),
        since=query.since,
        until=query.until,
        worker_id=query.worker_id,
        status=query.status,
        bounds=query.bounds,
    )
    return page_of(query, found, total, write_error_group)


@blueprint.get("/<error_id>")
@operation(
    summary="Show an error group",
    call=PublicCall(help="Show an error with its newest jobs."),
    query=ErrorQuery(),
    record=ErrorGroupRecord(),
    failures=(404,),
    reads_standby=True,
)
def show(error_id: str, query: dict[str, Any]) -> Response:
    """Show one group."""
    return responses.data(write_error_group(context().admin.errors.show(caller(), error_id, **query)))


@blueprint.post("/<error_id>/resolve")
@operation(
    summary="Resolve an error group",
    call=PublicCall(help="Resolve errors. They reopen when another job fails with the same error."),
    description="The group is reopened when another job fails in this way, with the event `ava.error.regressed`.",
    **_CHANGE,
)
def resolve(error_id: str) -> Response:
    return _change(error_id, ErrorStatus.RESOLVED)


@blueprint.post("/<error_id>/retry")
@operation(
    summary="Retry an error group's jobs",
    call=PublicCall(
        help="Trigger a new job for each failed job of errors. `ava operations show` follows the operation."
    ),
    description="Triggers a copy of each failed job of the group that is still stored, at most the newest 10,000. "
    "The response is an operation, as for `POST /v1/ava/jobs/retry`.",
    body=NoBody(),
    may_be_empty=True,
    failures=(404, 413, 415, 422),
    **STARTED,
)
def retry(error_id: str, key: str | None) -> Response:
    return start_operation(BulkKind.RETRY, context().admin.errors.retry_filter(caller(), error_id), key)


@blueprint.post("/<error_id>/ignore")
@operation(
    summary="Ignore an error group",
    call=PublicCall(help="Ignore errors. Their jobs are still counted."),
    description="Its jobs are still counted.",
    **_CHANGE,
)
def ignore(error_id: str) -> Response:
    return _change(error_id, ErrorStatus.IGNORED)


@blueprint.post("/<error_id>/reopen")
@operation(summary="Reopen an error group", call=PublicCall(help="Reopen errors."), **_CHANGE)
def reopen(error_id: str) -> Response:
    """Reopen one group."""
    return _change(error_id, ErrorStatus.OPEN)


def _change(error_id: str, status: ErrorStatus) -> Response:
    before, changed = context().admin.errors.change(caller(), error_id, status)
    record_pairs(status=(before, status))
    return responses.data(write_error_group(changed))
