"""Journals of jobs: schemas of requests and responses."""

from __future__ import annotations

from marshmallow import Schema, fields

from ava.api.http import payloads
from ava.api.http.fields import Choice, Cursor, Id, Instant, JsonText, Text, WholeNumber
from ava.api.http.records import compile_schema
from ava.api.http.strict import Strict
from ava.domain.jobs.waits import EntryState, JournalKind, WaitCondition

_SIZE = 2**53


class JournalQuery(Strict):
    """The parameters of a journal."""

    limit = WholeNumber(
        minimum=1,
        maximum=200,
        is_text=True,
        load_default=100,
        metadata={"description": "The most entries to return."},
    )
    after = Cursor(
        lambda text: text,
        load_default=None,
        allow_none=False,
        metadata={"description": "The next_cursor of an earlier answer; returns the entries after that place."},
    )


class JournalEntryRecord(Schema):
    """A named step, child or wait of a handler."""

    kind = Choice(JournalKind)
    name = Text(metadata={"payload": payloads.hide_text})
    state = Choice(
        EntryState,
        metadata={
            "description": "`began`: a step that runs at most once; `done`; `waits`: a sleep, or a wait with a "
            "time-out; `timed_out`."
        },
    )
    attempt = WholeNumber(minimum=1, maximum=_SIZE, metadata={"description": "The last attempt that it belongs to."})
    value = JsonText(
        attribute="value_json",
        allow_none=True,
        metadata={
            "description": "What a step has returned; null if it is large. Of a `gather` that raised while branches "
            "waited: their numbers, each with the number of its wait, beyond which it does not go in this attempt.",
            "payload": payloads.hide_value,
        },
    )
    value_bytes = WholeNumber(
        minimum=0, maximum=_SIZE, allow_none=True, metadata={"description": "The bytes of a value over 16 KiB."}
    )
    child_id = Id("job", allow_none=True, metadata={"description": "The child, or the one that `wait_any` has chosen."})
    until = Instant(allow_none=True, metadata={"description": "When a sleep or the time of a wait is over."})
    written_at = Instant()


class JobWaitRecord(Schema):
    """A wait of a job."""

    condition = Choice(WaitCondition)
    jobs = fields.List(Id("job"), attribute="job_ids", metadata={"description": "The first 100 jobs that it is for."})
    began_at = Instant()
    ended_at = Instant(allow_none=True, metadata={"description": "When its handler was entered after it; null before."})


class JobJournalRecord(Schema):
    """The journal of a job, and its waits."""

    job_id = Id("job")
    entries = fields.List(
        fields.Nested(JournalEntryRecord), metadata={"description": "In the order in which they were written."}
    )
    next_cursor = Text(allow_none=True, metadata={"description": "Leads to the entries that follow; null at the end."})
    waits = fields.List(fields.Nested(JobWaitRecord), metadata={"description": "The latest 100, oldest first."})


write_journal = compile_schema(JobJournalRecord())
