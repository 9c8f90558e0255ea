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
        is_string=True,
        load_default=100,
        metadata={"description": "Max number of entries."},
    )
    after = Cursor(
        lambda text: text,
        load_default=None,
        allow_none=False,
        metadata={"description": "The next_cursor of an earlier response; returns the entries after it."},
    )


class JournalEntryRecord(Schema):
    """A named step, child or wait of a handler."""

    kind = Choice(JournalKind)
    name = Text(metadata={"payload": payloads.hide_text})
    state = Choice(
        EntryState,
        metadata={
            "description": "`began`: a step that runs at most once; `done`; `waits`: a sleep, or a wait with a "
            "timeout; `timed_out`."
        },
    )
    attempt = WholeNumber(minimum=1, maximum=_SIZE, metadata={"description": "The last attempt that used it."})
    value = JsonText(
        attribute="value_json",
        allow_none=True,
        metadata={
            "description": "The return value of a step; null if it is large. For a `gather` that suspended: the "
            "numbers of its waiting branches, each with the number of the wait at which it stops in this attempt.",
            "payload": payloads.hide_value,
        },
    )
    value_bytes = WholeNumber(
        minimum=0, maximum=_SIZE, allow_none=True, metadata={"description": "Size in bytes of a value over 16 KiB."}
    )
    child_id = Id(
        "job", allow_none=True, metadata={"description": "The child; for `wait_any` the child that it returned."}
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


class JobJournalRecord(Schema):
    """The journal of a job, and its waits."""

    job_id = Id("job")
    entries = fields.List(
        fields.Nested(JournalEntryRecord),
        metadata={"description": "Oldest entry first."},
    )
    next_cursor = Text(allow_none=True, metadata={"description": "The cursor of the next entries; null at the end."})
    waits = fields.List(fields.Nested(JobWaitRecord), metadata={"description": "The latest 100 waits, oldest first."})


write_journal = compile_schema(JobJournalRecord())
