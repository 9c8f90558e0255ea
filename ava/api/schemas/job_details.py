"""The runs, journal and waits of a job, and why it is in its state: schemas of responses."""

from __future__ import annotations

from ava.api.http.records import RecordSchema, compile_schema
from ava.domain.jobs.explanation import Explanation, Facts
from ava.domain.jobs.run_log import JobRun
from ava.domain.jobs.waits import ChildState
from ava.store.jobs.reads.journals import ShownEntry, ShownWait


class JobRunRecord(RecordSchema, of=JobRun):
    """One run of a job's handler."""

    names = "attempt started_at ended_at outcome duration_ms cpu_ms peak_memory_mb wait_ms"


write_job_run = compile_schema(JobRunRecord())


class ExplanationFacts(RecordSchema, of=Facts):
    """The facts of an explanation."""

    names = (
        "queue worker_active processes busy queue_refused ahead estimate_seconds run_at attempt max_attempts node "
        "started_at cancel_requested_at"
    )


class ExplanationRecord(RecordSchema, of=Explanation):
    """Why a job is in its state."""

    names = "job_id status sentence facts"


write_explanation = compile_schema(ExplanationRecord())


class ChildRecord(RecordSchema, of=ChildState):
    """A child in a journal."""


class JournalEntryRecord(RecordSchema, of=ShownEntry):
    """A named step, child or wait of a handler."""


class JobWaitRecord(RecordSchema, of=ShownWait):
    """A wait of a job."""


write_journal_entry = compile_schema(JournalEntryRecord())
write_job_wait = compile_schema(JobWaitRecord())
