"""Logs of jobs: what clients ask for and what they get back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, fields, post_load

from ava.api.http.fields import Choice, Cursor, Id, Instant, Text, WholeNumber
from ava.api.http.records import compile_schema
from ava.api.http.strict import Strict
from ava.domain.job import LogLevel, Status

__all__ = ["JobLogRecord", "LogLineRecord", "LogRequest", "LogsQuery", "write_log_line"]


@dataclass(frozen=True, kw_only=True)
class LogRequest:
    """Which lines of a log are asked for."""

    level: LogLevel | None
    limit: int
    #: The cursor as the client sent it; whether it is one of this job's log is checked later.
    after: str | None


class LogsQuery(Strict):
    """The parameters of a job's log."""

    level = Choice(
        LogLevel,
        data_key="filter[level]",
        load_default=None,
        allow_none=False,
        metadata={"description": "Filter to one level."},
    )
    limit = WholeNumber(
        least=1, most=500, is_text=True, load_default=100, metadata={"description": "The most log lines to return."}
    )
    after = Cursor(
        lambda text: text,
        load_default=None,
        allow_none=False,
        metadata={"description": "The next_cursor of an earlier answer; returns the lines after it."},
    )

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> LogRequest:
        return LogRequest(**values)


class LogLineRecord(Schema):
    """One line of a job's log."""

    ts = Instant(metadata={"description": "Always with milliseconds."})
    level = Choice(LogLevel)
    msg = Text()


class JobLogRecord(Schema):
    """A job's log."""

    job_id = Id("job")
    job_status = Choice(Status)
    logs = fields.List(fields.Nested(LogLineRecord))


def _write_line_time(moment: datetime) -> str:
    return f'"{moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6]}Z"'


write_log_line = compile_schema(LogLineRecord(), ts=_write_line_time)
