"""Why a job is in its state: what clients get back."""

from __future__ import annotations

from marshmallow import Schema, fields

from ava.api.http.fields import Choice, Flag, Id, Instant, Number, Text, WholeNumber
from ava.api.http.records import compile_schema
from ava.domain.jobs.explanation import MAX_AHEAD
from ava.domain.jobs.job import Status
from ava.domain.jobs.retry import MAX_RETRIES


class ExplanationFacts(Schema):
    """The facts of an explanation."""

    queue = Text()
    worker_active = Flag(
        attribute="is_worker_active", allow_none=True, metadata={"description": "Null if there is no such worker."}
    )
    processes = WholeNumber(
        minimum=0,
        maximum=2**31,
        metadata={"description": "Processes of live nodes that have its handler and consume its queue."},
    )
    busy = WholeNumber(
        minimum=0, maximum=2**31, metadata={"description": "Those of them that run a job, of any tenant."}
    )
    queue_refused = Flag(
        attribute="is_queue_refused",
        metadata={"description": "True if the broker refuses the queue to a live node that has the handler."},
    )
    ahead = WholeNumber(minimum=0, maximum=MAX_AHEAD)
    estimate_seconds = Number(
        allow_none=True,
        metadata={
            "description": "Until it starts, if each job ahead, those of others too, takes as long as the tenant's own "
            "newest ones of this worker. Null if none of these has completed, if no process serves the worker, or if "
            "none is ahead and each process is busy."
        },
    )
    run_at = Instant(attribute="job.run_at", allow_none=True)
    attempt = WholeNumber(attribute="job.attempt", minimum=0, maximum=MAX_RETRIES + 1)
    max_attempts = WholeNumber(attribute="job.max_attempts", minimum=1, maximum=MAX_RETRIES + 1)
    node = Text(attribute="node_name", allow_none=True)
    started_at = Instant(attribute="job.started_at", allow_none=True)
    cancel_requested_at = Instant(attribute="job.cancel_requested_at", allow_none=True)


class ExplanationRecord(Schema):
    """Why a job is in its state."""

    job_id = Id("job", attribute="job.id")
    status = Choice(Status, attribute="job.status")
    sentence = Text()
    facts = fields.Nested(ExplanationFacts)


write_explanation = compile_schema(ExplanationRecord())
