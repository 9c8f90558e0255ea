"""The runs of a job, their resource usage, and why the job is in its state: schemas of responses."""

from __future__ import annotations

import json

from marshmallow import Schema, fields

from ava.api.http.fields import Choice, Flag, Id, Instant, Number, Text, WholeNumber
from ava.api.http.records import compile_schema
from ava.domain.jobs.explanation import MAX_AHEAD
from ava.domain.jobs.job import Status
from ava.domain.jobs.retry import MAX_RETRIES


class JobRunRecord(Schema):
    """One run of a job's handler."""

    started_at = Instant()
    ended_at = Instant(allow_none=True, metadata={"description": "Null while it runs."})
    outcome = Text(
        allow_none=True,
        metadata={
            "description": "`completed`, `failed`, `cancelled`, `lost`, `interrupted`, `put_off`, or `waits`: its "
            "handler waited. Null while it runs."
        },
    )
    duration_ms = WholeNumber(minimum=0, maximum=2**53, allow_none=True)
    cpu_ms = WholeNumber(
        minimum=0,
        maximum=2**53,
        allow_none=True,
        metadata={"description": "Its processor time; null while it runs, and if it is not known."},
    )
    peak_memory_mb = WholeNumber(
        minimum=0,
        maximum=2**31,
        allow_none=True,
        metadata={"description": "The most MiB of memory that its node saw; null of a run that ended before a look."},
    )
    wait_ms = WholeNumber(
        minimum=0,
        maximum=2**53,
        allow_none=True,
        metadata={"description": "From when it could start to its start."},
    )


class JobRunsRecord(Schema):
    """The runs of a job, with how long it waited and ran in total."""

    waited_ms = WholeNumber(
        minimum=0,
        maximum=2**53,
        allow_none=True,
        metadata={"description": "From when the job was due to its first start; null if it has not started."},
    )
    ran_ms = WholeNumber(
        minimum=0, maximum=2**53, allow_none=True, metadata={"description": "The sum of the runs that have ended."}
    )
    runs = fields.List(fields.Nested(JobRunRecord), metadata={"description": "The first 200, oldest first."})


write_job_runs = compile_schema(JobRunsRecord())


class UsageRecord(Schema):
    """Resource usage of a job's runs."""

    cpu_ms = WholeNumber(
        minimum=0,
        maximum=2**53,
        allow_none=True,
        metadata={"description": "The sum of their processor time; null if it is not known, as of a pulled run."},
    )
    peak_memory_mb = WholeNumber(
        minimum=0,
        maximum=2**31,
        allow_none=True,
        metadata={"description": "The most MiB of memory that a node saw; null if the runs ended before a look."},
    )
    wait_ms = WholeNumber(
        minimum=0, maximum=2**53, metadata={"description": "The sum of the times from when each could start."}
    )


def write_usage(usage: dict[str, int | None] | None) -> str:
    """Return the usage of a job as JSON."""
    return json.dumps(usage, separators=(",", ":"))


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
