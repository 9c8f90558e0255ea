"""What comes out: the records of answers, field by field in their order."""

from __future__ import annotations

from marshmallow import Schema, fields

from ava.api.http.fields import Choice, Flag, Id, Instant, JsonText, Number, Text, WholeNumber
from ava.domain import priority
from ava.domain.explanation import MOST_AHEAD
from ava.domain.job import LogLevel, Status, Trigger
from ava.domain.worker import WorkerStatus

__all__ = [
    "CancelledRecord",
    "ExplanationFacts",
    "ExplanationRecord",
    "JobLog",
    "JobRecord",
    "LogLineRecord",
    "QueueRecord",
    "QueuesRecord",
    "WorkerRecord",
]


class JobRecord(Schema):
    """A job: one execution of a worker with one input."""

    id = Id("job")
    worker_id = Id("wkr")
    tenant_id = Id("ten")
    status = Choice(Status)
    trigger = Choice(Trigger)
    priority = WholeNumber(least=priority.FIRST, most=priority.LAST)
    input = JsonText(attribute="input_json", metadata={"type": "object", "description": "The payload."})
    triggered_by = Id("usr")
    created_at = Instant()
    started_at = Instant(allow_none=True, metadata={"description": "When its current or last run began."})
    completed_at = Instant(allow_none=True, metadata={"description": "When it became final."})
    duration_ms = WholeNumber(
        least=0, most=2**53, allow_none=True, metadata={"description": "Milliseconds from its last start to its end."}
    )
    output = JsonText(attribute="output_json", allow_none=True, metadata={"description": "What its handler returned."})
    error = Text(allow_none=True, metadata={"description": "`Kind: reason`, one line, where it failed."})
    scheduled_at = Instant(allow_none=True)
    attempt = WholeNumber(
        least=0, most=6, metadata={"description": "Which attempt runs or ran; 0 before the first one."}
    )
    max_attempts = WholeNumber(least=1, most=6)
    cancel_requested_at = Instant(allow_none=True)
    cancelled_by = Id("usr", allow_none=True)
    progress = JsonText(
        attribute="progress_json",
        allow_none=True,
        metadata={"type": ["object", "null"], "description": "Where its handler says it is: fraction and message."},
    )
    retry_of = Id("job", allow_none=True, metadata={"description": "The job that this one repeats."})


class LogLineRecord(Schema):
    """One line of a job's log."""

    ts = Instant(metadata={"description": "With milliseconds, always."})
    level = Choice(LogLevel)
    msg = Text()


class JobLog(Schema):
    """A job's log."""

    job_id = Id("job")
    job_status = Choice(Status)
    logs = fields.List(fields.Nested(LogLineRecord))


class WorkerRecord(Schema):
    """A worker: a definition that can be run."""

    id = Id("wkr")
    name = Text()
    description = Text()
    runtime = Text()
    status = Choice(WorkerStatus)
    timeout_seconds = Number()
    max_retries = WholeNumber(least=0, most=5)
    queue = Text()
    created_at = Instant()
    updated_at = Instant()
    live = Flag(
        attribute="is_live", metadata={"description": "Whether a live process has its handler and hears its queue."}
    )


class QueueRecord(Schema):
    """How many jobs of one worker wait and run."""

    worker_id = Id("wkr")
    queued = WholeNumber(least=0, most=2**53)
    running = WholeNumber(least=0, most=2**53)
    high_priority = WholeNumber(
        least=0, most=2**53, metadata={"description": "How many of the queued have priority 1 to 3."}
    )


class QueuesRecord(Schema):
    """How many jobs wait and run."""

    total_queued = WholeNumber(least=0, most=2**53)
    total_running = WholeNumber(least=0, most=2**53)
    by_worker = fields.List(fields.Nested(QueueRecord))
    sampled_at = Instant()


class ExplanationFacts(Schema):
    """What an explanation is made of."""

    queue = Text(attribute="job.queue")
    worker_active = Flag(
        attribute="is_worker_active", allow_none=True, metadata={"description": "Null where there is no such worker."}
    )
    processes = WholeNumber(
        least=0, most=2**31, metadata={"description": "Living ones that have its handler and hear its queue."}
    )
    ahead = WholeNumber(least=0, most=MOST_AHEAD)
    estimate_seconds = Number(allow_none=True)
    run_at = Instant(attribute="job.run_at", allow_none=True)
    attempt = WholeNumber(attribute="job.attempt", least=0, most=6)
    max_attempts = WholeNumber(attribute="job.max_attempts", least=1, most=6)
    node = Text(attribute="node_name", allow_none=True)
    started_at = Instant(attribute="job.started_at", allow_none=True)
    cancel_requested_at = Instant(attribute="job.cancel_requested_at", allow_none=True)


class ExplanationRecord(Schema):
    """Why a job is in its state."""

    job_id = Id("job", attribute="job.id")
    status = Choice(Status, attribute="job.status")
    sentence = Text()
    facts = fields.Nested(ExplanationFacts)


class CancelledRecord(Schema):
    """How many jobs a call has cancelled."""

    cancelled = WholeNumber(least=0, most=2**53, metadata={"description": "Queued jobs, which are cancelled now."})
    signalled = WholeNumber(least=0, most=2**53, metadata={"description": "Running jobs, which were asked to stop."})
