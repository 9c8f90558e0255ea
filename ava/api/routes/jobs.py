"""`/v1/ava/jobs`: trigger, list, show, cancel and retry one job, and export all that match a filter."""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from flask import Blueprint, Response

from ava.api.http import offload, request_turns, responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import NDJSON, operation
from ava.api.http.paging import page_of
from ava.api.http.parsing import DURABILITY, REPLICATED
from ava.api.http.strict import NoBody
from ava.api.routes.audit import record_change
from ava.api.routes.streams import SharedStream, client_watch, waiting, watching
from ava.api.schemas.jobs import (
    ChangeBody,
    ExportQuery,
    JobListQuery,
    JobListRequest,
    JobRecord,
    LightJobRecord,
    ShowQuery,
    ShowRequest,
    TriggerBody,
    light_writer,
    write_job,
)
from ava.api.schemas.trigger_fields import RetryBody
from ava.domain.jobs.job import Job, JobSpec
from ava.domain.jobs.job_change import JobChange
from ava.domain.jobs.job_filter import JobFilter
from ava.store.jobs.reads.batches import JobBatch

#: Response header: an earlier trigger with the same key (`dedupe`, `debounce`) created the job.
EXISTING = "Existing-Job"

#: The names of the options that filter jobs.
_FILTERS = {
    "created_after": "--after --since --created-after",
    "created_before": "--before --created-before",
    "triggered_by": "--by",
    "root": "--roots",
    "input": "--where",
    "error_id": "--error-id",
}
_CHANGED = ("priority", "scheduled_at", "expires_at", "tags")

blueprint = Blueprint("jobs", __name__, url_prefix="/v1/ava/jobs")


@blueprint.post("")
@operation(
    summary="Trigger a job",
    call=PublicCall(
        method="jobs.trigger",
        arguments="worker_id input",
        options={"input": "--input", "scheduled_at": "--at"},
        help="Trigger a job of a worker.",
        example="--set seconds=5 --follow",
    ),
    description="Stores the job and responds immediately; a worker runs it in the background. The record is durable "
    "before the response, with `Durability: replicated` also on a synchronous standby. With `dedupe` or `debounce`, "
    "triggers with the same worker and key create one job; `Existing-Job: true` marks a response with an existing "
    "job.",
    body=TriggerBody(),
    body_as="spec",
    record=JobRecord(),
    status=201,
    failures=(404, 409, 413, 415, 422),
    is_write=True,
    is_for_contained=True,
    takes_key=True,
    takes_durability=True,
)
def trigger(spec: JobSpec, key: str | None, is_replicated: bool) -> Response:
    with replicating(is_replicated) as stored:
        (job,), is_replay = context().jobs.trigger(caller(), [spec], key)
        stored.append(job)
    return mark_replicated(created(job, is_replay), is_replicated)


@contextmanager
def replicating(is_wanted: bool) -> Iterator[list[Job]]:
    """Wait until standbys have applied the jobs that the block adds to the list; the wait is at the block's end.

    Does nothing unless the request asks for it. Raises `NotReplicated`.
    """
    stored: list[Job] = []
    if is_wanted:
        context().replication.require()
    yield stored
    if is_wanted:
        context().replication.confirm(stored)


def mark_replicated(response: Response, is_replicated: bool) -> Response:
    """Return the response, marked as replicated if the request asked for that."""
    if is_replicated:
        response.headers[DURABILITY] = REPLICATED
    return response


def created(job: Job, is_replay: bool) -> Response:
    """Return the response to a request that created a job, now or in an earlier call."""
    response = responses.data(write_job(job), 201, location=f"{blueprint.url_prefix}/{job.id}", is_replay=is_replay)
    if job.is_existing:
        response.headers[EXISTING] = "true"
    return response


@blueprint.post("/<job:job_id>/retry")
@operation(
    summary="Retry a job",
    call=PublicCall(
        arguments="input priority",
        options={"input": "--input", "priority": "--set-priority", "from": ""},
        help="Trigger a new job like a final one, optionally with another input or priority.",
        tool="retry_job",
        command="jobs retry",
    ),
    description="Triggers a copy of a final job: same worker, input, trigger and priority, unless the body has "
    "another input or priority. `retry_of` names the original. With `from`, the retry of a bulk's entry includes its "
    "followers.",
    body=RetryBody(),
    may_be_empty=True,
    record=JobRecord(),
    status=201,
    failures=(404, 409, 413, 415, 422),
    is_write=True,
    takes_key=True,
    takes_durability=True,
)
def retry(job_id: str, body: dict[str, Any], key: str | None, is_replicated: bool) -> Response:
    jobs = context().jobs
    with replicating(is_replicated) as stored:
        if body["from_"] is None:
            retried = jobs.retry(caller(), job_id, key, input_json=body["input"], priority=body["priority"])
        else:
            retried = jobs.retry_from_failed(caller(), job_id, key)
        stored.append(retried[0])
    return mark_replicated(created(*retried), is_replicated)


@blueprint.get("")
@operation(
    summary="List jobs",
    call=PublicCall(
        options=_FILTERS,
        help="List jobs, newest first unless they are sorted.",
        example="--status failed --since 2h",
        columns="id* worker_id status* waits_for+ priority+ trigger+ BY=triggered_by+ created_at RAN=ran+ "
        "ATTEMPT=attempt_of+ error!",
        tool="list_jobs",
    ),
    description="Newest first. `total` is exact up to 1,000 and stays there, because counting millions would cost "
    "more than the list. `page` reaches the first 1,000 jobs; `cursor` reaches all. An input or output of more than "
    "16 KiB is null unless `fields=*`, which limits a page to 8 MiB. Filters by `priority`, `triggered_by`, `error`, "
    "`error_id`, end time, tags, input values, and parts of an `id` other than its beginning scan at most 20,000 "
    "jobs per page, and filters by input values at most 32 MiB of inputs. If a page ends at such a limit, it may "
    "have fewer jobs than requested, or none, and `scanned_until` is the time that the scan reached; `total` counts "
    "matches among the newest 20,000 jobs. If a page ends early, `has_more` is true and `next_cursor` continues it. "
    "The response to `If-None-Match` with the ETag of an earlier page is 304 if the page is the same.",
    query=JobListQuery(),
    record=LightJobRecord(),
    is_list=True,
    may_be_unchanged=True,
    reads_standby=True,
)
def list_jobs(query: JobListRequest) -> Response:
    found, total = context().jobs.page(
        caller(),
        query.job_filter,
        limit=query.per_page,
        before_id=query.after_id,
        offset=query.offset,
        payloads=query.payloads,
        sort=query.sort,
    )
    write = light_writer(query.fields)
    response = page_of(
        query,
        found.jobs,
        total,
        write,
        has_more=found.has_more,
        scanned_until=found.scanned_until,
        has_cursor=found.has_cursor,
    )
    return responses.keep_until_changed(response)


@blueprint.get("/<job:job_id>")
@operation(
    summary="Show a job",
    call=PublicCall(help="Show a job.", tool="get_job"),
    description="Poll until `status` is `completed`, `failed` or `cancelled`. `output` is the return value of the "
    "handler function, `error` the failure reason.",
    query=ShowQuery(),
    record=LightJobRecord(),
    failures=(404,),
    may_be_unchanged=True,
)
def show(job_id: str, query: ShowRequest) -> Response:
    job = context().jobs.show(caller(), job_id)
    if query.wait_seconds is not None and not job.is_final:
        with waiting():
            context().watches.wait(job.id, query.wait_seconds, client_watch(), tenant_id=job.tenant_id)
        job = context().jobs.show(caller(), job_id)
    response = responses.data(light_writer(query.fields)(job))
    return responses.keep_until_changed(response) if job.is_final else response


@blueprint.patch("/<job:job_id>")
@operation(
    summary="Update a job",
    call=PublicCall(
        options={"scheduled_at": "--at"},
        help="Change a queued job. Without a start time it starts as soon as possible.",
        example="--priority 1 --unset at",
    ),
    description="Changes the priority, date, expiry or tags; 409 if the job is not queued any more. A claim and a "
    "change cannot overlap: either the job has already started, or the claim uses the change. For a job that waits "
    "for a retry, only `priority` and `tags` can be changed.",
    body=ChangeBody(),
    body_as="wanted",
    record=JobRecord(),
    failures=(404, 409, 413, 415, 422),
    is_write=True,
)
def change(job_id: str, wanted: JobChange) -> Response:
    before, changed = context().jobs.change(caller(), job_id, wanted)
    record_change(write_job.whole(before), write_job.whole(changed), _CHANGED)
    return responses.data(write_job(changed))


@blueprint.post("/<job:job_id>/cancel")
@operation(
    summary="Cancel a job",
    call=PublicCall(help="Cancel a job; a running one is asked to stop.", tool="cancel_job"),
    description="Only queued or running jobs can be cancelled. A queued job is `cancelled` immediately. For a "
    "running job, the response has `cancel_requested_at`, the process gets SIGTERM, and the job is `cancelled` once "
    "the process has stopped running it.",
    body=NoBody(),
    may_be_empty=True,
    record=JobRecord(),
    failures=(404, 409, 413, 415, 422),
    is_write=True,
    is_for_contained=True,
)
def cancel(job_id: str) -> Response:
    return responses.data(write_job(context().jobs.cancel(caller(), job_id)))


exports_blueprint = Blueprint("exports", __name__, url_prefix="/v1/ava/jobs")

#: Returns the batch before an id.
ReadBatch = Callable[[str | None], JobBatch]


@exports_blueprint.get("/export")
@operation(
    summary="Export jobs",
    call=PublicCall(
        help="Print all matching jobs, newest first: one complete job per line, as JSON.",
        example="--status failed > failed.ndjson",
        options=_FILTERS,
    ),
    description="All jobs that match the filters, newest first, one record per line, with the whole input and "
    "output. Jobs triggered after the call are not included. The export counts as a stream. If the connection ends "
    "without the last chunk of the response, the export is incomplete.",
    query=ExportQuery(),
    query_as="job_filter",
    record=JobRecord(),
    media_type=NDJSON,
)
def export(job_filter: JobFilter) -> Response:
    who, jobs = caller(), context().jobs

    def read(before_id: str | None) -> JobBatch:
        return jobs.batch(who, job_filter, before_id=before_id)

    return export_response(read, write_job.shown(is_visible=who.sees_payloads))


def export_response(read: ReadBatch, write: Callable[[Job], str]) -> Response:
    """Return a response with all jobs that `read` returns, batch by batch. It counts as a stream."""
    watches, is_disconnected = context().watches, client_watch()
    with ExitStack() as share:
        share.enter_context(watching(context().shares.streams, caller().tenant_id))
        # Read before the response begins, so that a failure gets its own status.
        lines = request_turns.part_by_part(
            _lines(read(None), read, write, lambda: watches.is_closing or is_disconnected())
        )
        response = Response(SharedStream(lines, share.pop_all()), mimetype=NDJSON)
    # Prevents nginx from buffering the export.
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _lines(
    batch: JobBatch, read: ReadBatch, write: Callable[[Job], str], has_ended: Callable[[], bool]
) -> Generator[bytes]:
    """Yield the records batch by batch; no database connection is in use while the client reads a batch.

    A failure ends the connection without the last chunk, so that the client notices it.
    """
    while True:
        yield _ndjson_lines(batch, write)
        if batch.before_id is None:
            return
        if has_ended():
            # EPIPE, because gunicorn logs other errors with a traceback.
            raise BrokenPipeError(errno.EPIPE, "the export was cut short")
        batch = read(batch.before_id)


def _ndjson_lines(batch: JobBatch, write_job: Callable[[Job], str]) -> bytes:
    size = sum(len(job.input_json) + len(job.output_json or "") for job in batch.jobs)

    def write() -> bytes:
        return "".join([write_job(job) + "\n" for job in batch.jobs]).encode()

    return write() if size <= offload.LARGE_BYTES else offload.run(write)
