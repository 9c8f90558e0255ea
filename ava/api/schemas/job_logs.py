"""Logs of jobs: schemas of requests and responses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validates_schema

from ava.api.http.fields import STORABLE, BoundedString, Choice, Cursor, Id, QueryInstant, WholeNumber
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.http.strict import Strict
from ava.domain.jobs.job import LogLevel, LogLine, Status
from ava.store.jobs.reads.job_logs import LAST_SEQ, LogRange


@dataclass(frozen=True, kw_only=True)
class LogRequest:
    """The requested lines of a log."""

    wanted: LogRange
    #: The client's cursors; whether they belong to this job's log is checked later.
    after: str | None = None
    before: str | None = None


def _optional(description: str, **form: Any) -> dict[str, Any]:
    return {"load_default": None, "metadata": {"description": description, **form}}


class LogFilterQuery(Strict):
    """The parameters that filter lines of a job's log."""

    level = Choice(LogLevel, data_key="filter[level]", **_optional("Only lines of this level."))
    search = BoundedString(
        200,
        characters=STORABLE,
        data_key="q",
        **_optional("A part of the line, in upper or lower case.", pattern="^[^\\x00]{1,200}$"),
    )
    since = QueryInstant(**_optional("Only lines at or after this time, in ISO 8601."))

    @post_load
    def _range(self, values: dict[str, Any], **_: Any) -> Any:
        return LogRange(limit=_PER_READ, **values)


_PER_READ = 2_000


class LogsQuery(LogFilterQuery):
    """The parameters of a job's log."""

    limit = WholeNumber(
        minimum=1,
        maximum=500,
        is_string=True,
        load_default=100,
        metadata={"description": "Max number of log lines."},
    )
    tail = WholeNumber(
        minimum=1, maximum=500, is_string=True, **_optional("Return this number of lines from the end of the log.")
    )
    after = Cursor(
        lambda cursor: cursor, **_optional("The next_cursor of an earlier response; returns the lines after it.")
    )
    before = Cursor(
        lambda cursor: cursor,
        **_optional("The previous_cursor of an earlier response; returns the last lines before it."),
    )

    @validates_schema
    def _check_direction(self, values: dict[str, Any], **_: Any) -> None:
        given = [name for name in ("tail", "after", "before") if values.get(name) is not None]
        if len(given) > 1:
            raise ValidationError(f"Send {given[0]} or {given[1]}, not both.", given[1])

    @post_load
    def _range(self, values: dict[str, Any], **_: Any) -> LogRequest:
        after, before, tail = (values.pop(name) for name in ("after", "before", "tail"))
        if tail is not None:
            values |= {"limit": tail, "before_seq": LAST_SEQ}
        return LogRequest(wanted=LogRange(**values), after=after, before=before)


class LogLineRecord(RecordSchema, of=LogLine):
    """One line of a job's log."""


class JobLogRecord(Schema):
    """A job's log. Its route writes it, because a response may end before its last line."""

    job_id = Id("job")
    job_status = Choice(Status)
    logs = fields.List(fields.Nested(LogLineRecord))


def write_plain_line(line: LogLine) -> str:
    """Return a log line for a plain-text response; further lines of its message are indented."""
    timestamp = line.ts.astimezone(UTC).isoformat(timespec="milliseconds")[:-6]
    return f"{timestamp}Z {line.level.value.ljust(5)} {line.msg.replace(chr(10), chr(10) + '    ')}\n"


def _write_line_time(timestamp: datetime) -> str:
    return f'"{timestamp.astimezone(UTC).isoformat(timespec="milliseconds")[:-6]}Z"'


write_log_line = compile_schema(LogLineRecord(), ts=_write_line_time)
