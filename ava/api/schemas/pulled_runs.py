"""Pulled runs: schemas of requests and responses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

from marshmallow import ValidationError, post_load

from ava.api.http.fields import (
    ANY,
    BoundedJson,
    BoundedNumber,
    BoundedString,
    Choice,
    Flag,
    Instant,
    Plain,
    String,
    WholeNumber,
)
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.http.strict import Entries, Strict
from ava.api.schemas.durable_runs import WaitBody
from ava.api.schemas.jobs import light_writer
from ava.api.schemas.keys import WorkerIds
from ava.domain.jobs.job import LogLevel
from ava.domain.jobs.run_log import ClaimedRun, RunEnd, RunHeartbeats, RunStop
from ava.domain.limits.table import (
    OUTPUT_BYTES,
    RUN_LINES,
    RUN_LINES_PER_CALL,
    RUNS_PER_CLAIM,
    RUNS_PER_HEARTBEAT,
    WAITS_PER_CALL,
)
from ava.domain.strings import storable
from ava.services.durable_runs import SentWaits
from ava.services.pulled_runs import SentLine, SentOutcome

_ERROR = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,99}: .*", re.DOTALL)
_LONGEST_ERROR = 10_000
_LONGEST_TEXT = 1_000
_LONGEST_NAME = 100
_MAX_RETRY_LATER_SECONDS = 366 * 86_400
#: Of a run's messages: characters that cannot be stored are escaped.
_Text = partial(BoundedString, shortest=0, characters=ANY)


@dataclass(frozen=True, kw_only=True)
class ClaimRequest:
    """A request to claim runs."""

    worker_ids: list[str]
    capacity: int
    wait_seconds: float
    name: str | None


class ClaimBody(Strict):
    """A claim of runs."""

    workers = WorkerIds(
        required=True,
        metadata={"description": "The workers to claim runs of; the key must list each of them."},
    )
    capacity = WholeNumber(
        limit=RUNS_PER_CLAIM,
        minimum=1,
        maximum=RUNS_PER_CLAIM.value,
        load_default=1,
        metadata={"description": "Max number of runs to claim."},
    )
    wait = BoundedNumber(
        minimum=0,
        maximum=30,
        load_default=0,
        metadata={"description": "Max seconds to wait for a run before the response."},
    )
    name = _Text(
        _LONGEST_NAME,
        load_default=None,
        allow_none=True,
        metadata={"description": "A display name of the claiming process."},
    )

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> ClaimRequest:
        name = values["name"]
        return ClaimRequest(
            worker_ids=values["workers"],
            capacity=values["capacity"],
            wait_seconds=values["wait"],
            name=None if name is None else storable(name, _LONGEST_NAME),
        )


class LineBody(Strict):
    """A log line."""

    seq = WholeNumber(
        limit=RUN_LINES,
        minimum=0,
        maximum=RUN_LINES.value - 1,
        required=True,
        metadata={
            "description": "The number of the line in the run. A line with a number that was already sent is ignored."
        },
    )
    level = Choice(LogLevel, load_default=LogLevel.INFO)
    msg = _Text(2**20, required=True, metadata={"description": "The message; a long message is cut."})
    ts = Instant(load_default=None, allow_none=True, metadata={"description": "The time of the line; null: now."})

    @post_load
    def _line(self, values: dict[str, Any], **_: Any) -> SentLine:
        return SentLine(**values)


class LinesBody(Strict):
    """Log lines of a run."""

    lines = Entries(LineBody(), limit=RUN_LINES_PER_CALL, required=True)


class ProgressBody(Strict):
    """The progress of a run."""

    fraction = BoundedNumber(
        minimum=0,
        maximum=1,
        required=True,
        metadata={"description": "The completed part of the work, 0 to 1."},
    )
    message = _Text(_LONGEST_TEXT, load_default="")


class _Error(String):
    """The error of a failed run, `Kind: reason`."""

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or len(value) > _LONGEST_ERROR or not _ERROR.fullmatch(value):
            raise ValidationError(
                f"It must be a string such as `TypeError: x is undefined`, of at most {_LONGEST_ERROR:,} characters."
            )
        return value


class EndBody(Strict):
    """The end of a run: its output, its error, or when the job starts again."""

    output = BoundedJson(
        limit=OUTPUT_BYTES,
        what="output",
        allow_none=True,
        metadata={"description": "The return value of the handler, any JSON value."},
    )
    error = _Error(
        metadata={"description": "Why the run failed, as `Kind: reason`.", "pattern": "^[A-Za-z_][A-Za-z0-9_.]{0,99}: "}
    )
    give_up = Flag(load_default=False, metadata={"description": "Only with `error`: true prevents further attempts."})
    retry_later_seconds = BoundedNumber(
        minimum=0,
        maximum=_MAX_RETRY_LATER_SECONDS,
        metadata={"description": "Seconds until the job starts again; the attempt does not count."},
    )
    reason = _Text(
        _LONGEST_TEXT, load_default="", metadata={"description": "Only with `retry_later_seconds`: the reason."}
    )
    waits = Entries(
        WaitBody(),
        limit=WAITS_PER_CALL,
        metadata={
            "description": "The waits of the handler: the job continues when any is satisfied. If one is satisfied "
            "already, the run does not end (`suspended: false`), and its journal has the outcome."
        },
    )

    @post_load
    def _ending(self, values: dict[str, Any], **_: Any) -> SentOutcome | SentWaits:
        named = [name for name in ("output", "error", "retry_later_seconds", "waits") if name in values]
        if len(named) != 1:
            raise ValidationError("It must have exactly one field: output, error, retry_later_seconds or waits.")
        if values["give_up"] and "error" not in values:
            raise ValidationError({"give_up": ["It is allowed only together with error."]})
        if values["reason"] and "retry_later_seconds" not in values:
            raise ValidationError({"reason": ["It is allowed only together with retry_later_seconds."]})
        if "waits" in values:
            return SentWaits(values["waits"])
        output = values.get("output")
        return SentOutcome(
            output_json=("null" if output is None else output) if "output" in values else None,
            error=values.get("error"),
            gives_up=values["give_up"],
            retry_later_seconds=values.get("retry_later_seconds"),
            reason=values["reason"],
        )


class _RunTokens(Plain):
    """A list of run tokens."""

    def read(self, value: Any) -> list[str]:
        if not isinstance(value, list) or not 1 <= len(value) <= RUNS_PER_HEARTBEAT.value:
            raise ValidationError(
                RUNS_PER_HEARTBEAT.message(f"It must be a list of 1 to {RUNS_PER_HEARTBEAT.value:,} runs.")
            )
        if not all(isinstance(each, str) and len(each) <= _LONGEST_NAME for each in value):
            raise ValidationError("Each entry must be a run's token, as returned by its claim.")
        return value


class HeartbeatBody(Strict):
    """The runs that are alive."""

    runs = _RunTokens(
        required=True,
        metadata={
            "type": "array",
            "items": {"type": "string", "maxLength": _LONGEST_NAME},
            "minItems": 1,
            "maxItems": RUNS_PER_HEARTBEAT.value,
            "description": "The tokens of the runs.",
        },
    )


# Out -----------------------------------------------------------------------------------------------------------------


class ClaimedRunRecord(RecordSchema, of=ClaimedRun):
    """A claimed run."""


class StopRecord(RecordSchema, of=RunStop):
    """The response to log lines and progress."""


class EndRecord(RecordSchema, of=RunEnd):
    """The job's next status."""


class HeartbeatRecord(RecordSchema, of=RunHeartbeats):
    """Instructions for the runs of a heartbeat."""


write_claimed = compile_schema(ClaimedRunRecord(), job=light_writer(None).whole).whole
write_stop = compile_schema(StopRecord())
write_end = compile_schema(EndRecord())
write_heartbeats = compile_schema(HeartbeatRecord())
