"""`/v1/ava/jobs/bulk`: many jobs in one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.routes.jobs import mark_replicated, replicating
from ava.api.schemas.bulk_jobs import BulkBody
from ava.api.schemas.jobs import LightJobRecord, light_writer
from ava.domain.input_schema import InputMismatch
from ava.domain.jobs.job import Job, JobSpec
from ava.domain.limits import table as limits
from ava.domain.limits.table import RESPONSE_BYTES
from ava.errors import (
    IdempotencyKeyReused,
    InvalidFields,
    JobStateConflict,
    PriorityTooUrgent,
    RequestError,
    WorkerDeprecated,
    WorkerNotFound,
)

blueprint = Blueprint("bulk", __name__, url_prefix="/v1/ava/jobs")


@blueprint.post("/bulk")
@operation(
    summary="Trigger many jobs",
    call=PublicCall(method="jobs.trigger_many", arguments="jobs", command=""),
    description="Creates 1 to 1,000 jobs in one transaction, all or none, and returns them in the same order. An "
    "error names the invalid entry by its index, as in `jobs[3].priority`. The body may have 16 MiB. The response "
    "has at most 8 MiB of inputs and outputs; an omitted one is null, and `input_bytes` or `output_bytes` gives its "
    "size.",
    body=BulkBody(),
    body_as="specs",
    max_bytes=limits.BULK_BODY_BYTES,
    record=LightJobRecord(many=True),
    status=201,
    failures=(404, 409, 413, 415, 422),
    is_write=True,
    is_for_contained=True,
    takes_key=True,
    takes_durability=True,
)
def trigger(specs: Sequence[JobSpec], key: str | None, is_replicated: bool) -> Response:
    _refuse_two_keys(specs, key)
    try:
        with replicating(is_replicated) as stored:
            jobs, is_replay = context().jobs.trigger(caller(), specs, key)
            stored.extend(jobs)
    except (WorkerNotFound, WorkerDeprecated) as error:
        raise _with_index(error, "worker_id") from None
    except IdempotencyKeyReused as error:
        raise error if key is not None else _with_index(error, "idempotency_key") from None
    except JobStateConflict as error:
        raise _with_index(error, "dedupe") from None
    except InputMismatch as error:
        raise InputMismatch.of(error.fields, error.entry, f"jobs[{error.entry}].") from None
    except PriorityTooUrgent as error:
        raise PriorityTooUrgent(error.reason, error.entry, f"jobs[{error.entry}].priority") from None
    response = responses.data(f"[{','.join(_records(jobs))}]", 201, is_replay=is_replay)
    mark_replicated(response, is_replicated)
    return response


def _refuse_two_keys(specs: Sequence[JobSpec], key: str | None) -> None:
    """Raise `InvalidFields` if both the call and an entry have an idempotency key."""
    own = next((n for n, spec in enumerate(specs) if spec.idempotency_key is not None), None)
    if own is not None and key is not None:
        name, reason = f"jobs[{own}].idempotency_key", "It cannot be combined with the header Idempotency-Key."
        raise InvalidFields(f"{name}: {reason}", {name: [reason]})


def _records(jobs: Sequence[Job]) -> Iterator[str]:
    """Yield the records, omitting inputs and outputs beyond the max size of a response."""
    used, write = 0, light_writer().for_caller()
    for job in jobs:
        input_bytes, output_bytes = len(job.input_json), len(job.output_json or "")
        used += input_bytes + output_bytes
        if job.is_light or used <= RESPONSE_BYTES.value:
            yield write(job)
        else:
            used -= input_bytes + output_bytes
            left_out = replace(
                job,
                input_json="null",
                output_json=None,
                input_bytes=input_bytes,
                output_bytes=output_bytes or None,
            )
            yield write(left_out)


def _with_index(error: RequestError, field: str) -> RequestError:
    name, message = f"jobs[{error.entry}].{field}", str(error).removeprefix(f"{field}: ")
    indexed = type(error)(f"{name}: {message}")
    indexed.fields = {name: [message]}
    return indexed
