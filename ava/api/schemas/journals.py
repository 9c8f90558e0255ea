"""Journals and waits of jobs: schemas of responses."""

from __future__ import annotations

from marshmallow import Schema, fields

from ava.api.http import payloads
from ava.api.http.fields import Choice, Id, Instant, JsonString, String, WholeNumber
from ava.api.http.records import compile_schema
from ava.domain.jobs.job import Status
from ava.domain.jobs.waits import EntryState, JournalKind, WaitCondition

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
