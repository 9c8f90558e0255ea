"""`/v1/ava/jobs/export`: all jobs that match a filter, as lines of JSON, in bounded memory."""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator
from contextlib import ExitStack

from flask import Blueprint, Response

from ava.api.http import offload, request_turns
from ava.api.http.context import caller, context
from ava.api.http.operations import NDJSON, operation
from ava.api.routes.streams import SharedStream, client_watch, watching
from ava.api.schemas.jobs import ExportQuery, JobRecord, write_job
from ava.domain.jobs.job import Job
from ava.domain.jobs.job_filter import JobFilter
from ava.store.jobs.reads.batches import JobBatch

blueprint = Blueprint("exports", __name__, url_prefix="/v1/ava/jobs")

#: Returns the batch before an id.
ReadBatch = Callable[[str | None], JobBatch]


@blueprint.get("/export")
@operation(
    summary="Export jobs",
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
