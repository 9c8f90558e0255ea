"""The runs, journal and waits of a job, and why it is in its state: schemas of responses."""

from __future__ import annotations

from marshmallow import Schema, fields

from ava.api.http import payloads
from ava.api.http.fields import Choice, Flag, Id, Instant, JsonString, Number, String, WholeNumber
from ava.api.http.records import compile_schema
from ava.domain.jobs.explanation import MAX_AHEAD
from ava.domain.jobs.job import Status
from ava.domain.jobs.retry import MAX_RETRIES
from ava.domain.jobs.waits import EntryState, JournalKind, WaitCondition


class JobRunRecord(Schema):
    """One run of a job's handler."""

    attempt = WholeNumber(
        minimum=1,
        maximum=MAX_RETRIES + 1,
        metadata={
            "description": "The attempt that the run belongs to. A job's `duration_ms` is the sum of the runs of its "
            "last attempt."
        },
    )
    started_at = Instant()
    ended_at = Instant(allow_none=True, metadata={"description": "Null while the run lasts."})
    outcome = String(
        allow_none=True,
        metadata={
            "description": "`completed`, `failed`, `cancelled`, `lost`, `interrupted`, `deferred` (the handler "
            "deferred the job), or `waits` (the handler waited). Null while the run lasts."
        },
    )
    duration_ms = WholeNumber(minimum=0, maximum=2**53, allow_none=True)
    cpu_ms = WholeNumber(
        minimum=0,
        maximum=2**53,
        allow_none=True,
        metadata={"description": "CPU time; null during the run, and if it is not known."},
    )
    peak_memory_mb = WholeNumber(
        minimum=0,
        maximum=2**31,
        allow_none=True,
        metadata={
            "description": "Peak memory in MiB, as measured by the node; null for a run that ended before the "
            "first measurement."
        },
    )
    wait_ms = WholeNumber(
        minimum=0,
        maximum=2**53,
        allow_none=True,
        metadata={"description": "The time from when it could start to its start."},
    )


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


_SIZE = 2**53


class ChildRecord(Schema):
    """A child in a journal."""

    id = Id("job")
    worker_id = String()
    status = Choice(Status)
    error = String(allow_none=True, metadata={"payload": payloads.hide_error})


class JournalEntryRecord(Schema):
    """A named step, child or wait of a handler."""

    kind = Choice(JournalKind)
    name = String(metadata={"payload": payloads.hide_string})
    state = Choice(
        EntryState,
        metadata={
            "description": "`began`: a step that runs at most once; `done`; `waits`: a sleep, or a wait with a "
            "timeout; `timed_out`."
        },
    )
    attempt = WholeNumber(minimum=1, maximum=_SIZE, metadata={"description": "The last attempt that used it."})
    value = JsonString(
        attribute="value_json",
        allow_none=True,
        metadata={
            "description": "The return value of a step, or the state of an approval; null if it is large. "
            "For a `gather` that suspended: the "
            "numbers of its waiting branches, each with the number of the wait at which it stops in this attempt.",
            "payload": payloads.hide_value,
        },
    )
    value_bytes = WholeNumber(
        minimum=0, maximum=_SIZE, allow_none=True, metadata={"description": "Size in bytes of a value over 16 KiB."}
    )
    child = fields.Nested(
        ChildRecord(),
        allow_none=True,
        metadata={"description": "The child; for `wait_any` the child that it returned. Null once it was deleted."},
    )
    until = Instant(allow_none=True, metadata={"description": "The end of a sleep, or the timeout of a wait."})
    written_at = Instant()


class JobWaitRecord(Schema):
    """A wait of a job."""

    condition = Choice(WaitCondition)
    jobs = fields.List(
        Id("job"), attribute="job_ids", metadata={"description": "The jobs that it waits for, at most 100."}
    )
    began_at = Instant()
    ended_at = Instant(
        allow_none=True, metadata={"description": "When the handler was entered again after the wait; null before."}
    )


write_journal_entry = compile_schema(JournalEntryRecord())
write_job_wait = compile_schema(JobWaitRecord())
