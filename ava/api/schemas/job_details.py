"""The runs, journal and waits of a job, and why it is in its state: schemas of responses."""

from __future__ import annotations

from marshmallow import Schema, fields

from ava.api.http.fields import Choice, Flag, Id, Instant, Number, String, WholeNumber
from ava.api.http.records import RecordSchema, compile_schema
from ava.domain.jobs.explanation import MAX_AHEAD
from ava.domain.jobs.job import Status
from ava.domain.jobs.retry import MAX_RETRIES
from ava.domain.jobs.run_log import JobRun
from ava.domain.jobs.waits import ChildState
from ava.store.jobs.reads.journals import ShownEntry, ShownWait


class JobRunRecord(RecordSchema, of=JobRun):
    """One run of a job's handler."""

    names = "attempt started_at ended_at outcome duration_ms cpu_ms peak_memory_mb wait_ms"


write_job_run = compile_schema(JobRunRecord())


class ExplanationFacts(Schema):
    """The facts of an explanation."""

    queue = String()
    worker_active = Flag(
        attribute="is_worker_active", allow_none=True, metadata={"description": "Null if the worker does not exist."}
    )
    processes = WholeNumber(
        minimum=0,
        maximum=2**31,
        metadata={"description": "Processes of live nodes that have its handler and consume its queue."},
    )
    busy = WholeNumber(
        minimum=0, maximum=2**31, metadata={"description": "The processes that are running a job of any tenant."}
    )
    queue_refused = Flag(
        attribute="is_queue_refused",
        metadata={"description": "True if the broker refuses the queue to a live node that has the handler."},
    )
    ahead = WholeNumber(minimum=0, maximum=MAX_AHEAD)
    estimate_seconds = Number(
        allow_none=True,
        metadata={
            "description": "Estimated time until the job starts, if each job ahead of it, of any tenant, takes as "
            "long as the tenant's newest jobs of this worker. Null if none of these has completed, if no process "
            "serves the worker, or if no job is ahead and all processes are busy."
        },
    )
    run_at = Instant(attribute="job.run_at", allow_none=True)
    attempt = WholeNumber(attribute="job.attempt", minimum=0, maximum=MAX_RETRIES + 1)
    max_attempts = WholeNumber(attribute="job.max_attempts", minimum=1, maximum=MAX_RETRIES + 1)
    node = String(attribute="node_name", allow_none=True)
    started_at = Instant(attribute="job.started_at", allow_none=True)
    cancel_requested_at = Instant(attribute="job.cancel_requested_at", allow_none=True)


class ExplanationRecord(Schema):
    """Why a job is in its state."""

    job_id = Id("job", attribute="job.id")
    status = Choice(Status, attribute="job.status")
    sentence = String()
    facts = fields.Nested(ExplanationFacts)


write_explanation = compile_schema(ExplanationRecord())


class ChildRecord(RecordSchema, of=ChildState):
    """A child in a journal."""


class JournalEntryRecord(RecordSchema, of=ShownEntry):
    """A named step, child or wait of a handler."""


class JobWaitRecord(RecordSchema, of=ShownWait):
    """A wait of a job."""


write_journal_entry = compile_schema(JournalEntryRecord())
write_job_wait = compile_schema(JobWaitRecord())
