"""`/v1/ava/jobs`: trigger, show, list, log, cancel and retry one job."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response

from ava.api.http import cursors, records, response_hooks, responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.responses import Page
from ava.api.routes.streams import client_watch
from ava.api.schemas.records import JobLog, JobRecord
from ava.api.schemas.requests import JobList, JobListQuery, LogsQuery, LogsQueryValues, NoBody, ShowQuery, TriggerBody
from ava.domain.job import Job, JobSpec
from ava.errors import InvalidParameters

__all__ = ["REPLAYED", "blueprint"]

#: The header that tells an answer to a known Idempotency-Key from the first one.
REPLAYED = "Idempotent-Replayed"

blueprint = Blueprint("jobs", __name__, url_prefix="/v1/ava/jobs")


@blueprint.post("")
@operation(
    summary="Trigger a job",
    description="Stores the job and answers at once; it is executed in the background. The record is durable before "
    "the answer.",
    body=TriggerBody(),
    answer=JobRecord(),
    status=201,
    failures=(404, 409, 413, 415, 422),
    is_write=True,
    takes_key=True,
)
def trigger(body: JobSpec, key: str | None) -> Response:
    """Store one job."""
    if key is None:
        (job,), is_replay = context().jobs.trigger(caller(), [body]), False
    else:
        (job,), is_replay = context().jobs.trigger_once(caller(), [body], key)
    return _created(job, is_replay)


def _created(job: Job, is_replay: bool) -> Response:
    answer = responses.data(records.job(job), 201)
    answer.headers["Location"] = f"{blueprint.url_prefix}/{job.id}"
    if is_replay:
        answer.headers[REPLAYED] = "true"
    return answer


@blueprint.post("/<job:job_id>/retry")
@operation(
    summary="Retry a job",
    description="Triggers a new job like a final one: same worker, input, trigger and priority; `retry_of` names it.",
    body=NoBody(),
    may_be_empty=True,
    answer=JobRecord(),
    status=201,
    failures=(404, 409, 413, 415, 422),
    is_write=True,
    takes_key=True,
)
def retry(job_id: str, body: object, key: str | None) -> Response:  # noqa: ARG001 - there is nothing in the body
    """Trigger one job again."""
    return _created(*context().jobs.retry(caller(), job_id, key))


@blueprint.get("")
@operation(
    summary="List jobs",
    description="Newest first. `total` is exact up to 1,000 and stays there beyond, since counting millions would "
    "cost more than the list. `page` reaches the first 1,000; `cursor` reaches all of them.",
    query=JobListQuery(),
    answer=JobRecord(),
    is_list=True,
)
def list_jobs(query: JobList) -> Response:
    """A page of jobs."""
    skipped = 0 if query.page is None else (query.page - 1) * query.per_page
    # One more than the page, to know whether there is more.
    found, total = context().jobs.page(
        caller(), query.job_filter, limit=query.per_page + 1, before_id=query.before_id, offset=skipped
    )
    return _job_page(found, query, total)


def _job_page(found: Sequence[Job], query: JobList, total: int) -> Response:
    shown, has_more = found[: query.per_page], len(found) > query.per_page
    page = Page(
        page=None if query.before_id else query.page or 1,
        per_page=query.per_page,
        total=total,
        has_more=has_more,
        next_cursor=cursors.of_job(shown[-1].id) if has_more else None,
    )
    return responses.data_list([records.job(job) for job in shown], page)


@blueprint.get("/<job:job_id>")
@operation(
    summary="Show a job",
    description="Poll until `status` is `completed`, `failed` or `cancelled`. `output` is the return value of the "
    "handler function, `error` the failure reason.",
    query=ShowQuery(),
    answer=JobRecord(),
    failures=(404,),
    may_be_unchanged=True,
)
def show(job_id: str, query: int | None) -> Response:
    """One job, at once or when it is final."""
    job = context().jobs.show(caller(), job_id)
    if query is not None and not job.is_final:
        ended = context().watches.wait(job.id, query, client_watch())
        job = ended or context().jobs.show(caller(), job_id)
    answer = responses.data(records.job(job))
    return response_hooks.keep_until_changed(answer) if job.is_final else answer


@blueprint.get("/<job:job_id>/logs")
@operation(
    summary="View a job's log",
    description="Oldest line first. To follow a log, ask again with `after` set to the `next_cursor` of the answer "
    "before; while no line has followed, it stays the same.",
    query=LogsQuery(),
    answer=JobLog(),
    failures=(404,),
)
def logs(job_id: str, query: LogsQueryValues) -> Response:
    """The lines of a job's log."""
    after = _after_seq(job_id, query.after)
    # One more than asked for, to know whether there is more.
    job, lines = context().jobs.logs(caller(), job_id, level=query.level, limit=query.limit + 1, after_seq=after)
    shown, has_more = lines[: query.limit], len(lines) > query.limit
    next_cursor = cursors.of_line(job.id, shown[-1].seq) if shown else query.after
    return responses.job_log(
        job, [records.log_line(line) for line in shown], next_cursor=next_cursor, has_more=has_more
    )


def _after_seq(job_id: str, cursor: str | None) -> int:
    if cursor is None:
        return -1
    if (seq := cursors.to_line(job_id, cursor)) is None:
        reason = "It must be the next_cursor of an earlier answer about this job, unchanged."
        raise InvalidParameters(f"after: {reason}", {"after": [reason]})
    return seq


@blueprint.post("/<job:job_id>/cancel")
@operation(
    summary="Cancel a job",
    description="Only queued or running jobs can be cancelled. A queued one is `cancelled` at once. A running one gets "
    "`cancel_requested_at`, its worker process SIGTERM, and it is `cancelled` when that process has let go of it.",
    body=NoBody(),
    may_be_empty=True,
    answer=JobRecord(),
    failures=(404, 409, 413, 415, 422),
    is_write=True,
)
def cancel(job_id: str, body: object) -> Response:  # noqa: ARG001 - there is nothing in the body
    """Cancel one job."""
    return responses.data(records.job(context().jobs.cancel(caller(), job_id)))
