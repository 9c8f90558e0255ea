"""`/v1/ava/jobs/bulk` and `/v1/ava/jobs/cancel`: many jobs at once."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response

from ava.api.http import records, responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.routes.jobs import REPLAYED
from ava.api.schemas.records import CancelledRecord, JobRecord
from ava.api.schemas.requests import BulkBody, CancelBody
from ava.domain.job import JobSpec
from ava.errors import RequestError, WorkerNotFound, WorkerPaused
from ava.store.jobs.reads import JobFilter

__all__ = ["blueprint"]

blueprint = Blueprint("bulk", __name__, url_prefix="/v1/ava/jobs")

#: The bytes that a bulk's body may have.
_MOST_BYTES = 16 * 2**20


@blueprint.post("/bulk")
@operation(
    summary="Trigger many jobs",
    description="1 to 1,000 jobs in one transaction, all or none, answered in their order. A wrong entry is named by "
    "its index, as in `jobs[3].priority`. The body may have 16 MiB.",
    body=BulkBody(),
    most_bytes=_MOST_BYTES,
    answer=JobRecord(many=True),
    status=201,
    failures=(404, 409, 413, 415, 422),
    is_write=True,
    takes_key=True,
)
def trigger(body: Sequence[JobSpec], key: str | None) -> Response:
    """Store many jobs."""
    try:
        if key is None:
            jobs, is_replay = context().jobs.trigger(caller(), body), False
        else:
            jobs, is_replay = context().jobs.trigger_once(caller(), body, key)
    except (WorkerNotFound, WorkerPaused) as error:
        raise _named(error) from None
    answer = responses.data(f"[{','.join([records.job(job) for job in jobs])}]", 201)
    if is_replay:
        answer.headers[REPLAYED] = "true"
    return answer


def _named(error: RequestError) -> RequestError:
    name, sentence = f"jobs[{error.entry}].worker_id", str(error)
    named = type(error)(f"{name}: {sentence}")
    named.fields = {name: [sentence]}
    return named


@blueprint.post("/cancel")
@operation(
    summary="Cancel many jobs",
    description="Cancels all queued and running jobs that the filter finds at the moment of the call, in batches. "
    "`cancelled` counts those that were queued, `signalled` the running ones, which were asked to stop.",
    body=CancelBody(),
    answer=CancelledRecord(),
    failures=(413, 415, 422),
    is_write=True,
)
def cancel(body: JobFilter) -> Response:
    """Cancel many jobs."""
    cancelled, signalled = context().jobs.cancel_all(caller(), body)
    return responses.data(f'{{"cancelled":{cancelled},"signalled":{signalled}}}')
