"""The records of responses equal the domain's."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ava.api.schemas.job_logs import write_log_line
from ava.api.schemas.jobs import write_job
from ava.domain.jobs.job import Job, LogLevel, LogLine, Status, Trigger
from ava.domain.record import make_record

_START = datetime(2025, 6, 1, 10, tzinfo=UTC)
_FINAL = Job(
    id="job_01hxyz",
    worker_id="wkr_x",
    tenant_id="ten_x",
    status=Status.FAILED,
    trigger=Trigger.EVENT,
    priority=1,
    input_json='{"a":"\\u0000\\ud800"}',
    triggered_by="usr_x",
    created_at=_START,
    started_at=_START + timedelta(milliseconds=5),
    completed_at=_START + timedelta(seconds=2),
    output_json="[1]",
    error='E: "quoted" é',
    scheduled_at=_START,
    attempt=2,
    max_attempts=3,
    cancel_requested_at=_START,
    cancelled_by="usr_y",
    progress_json='{"fraction":0.5}',
    retry_of="job_y",
    queue="default",
    run_no=2,
    waits_for=None,
    run_at=None,
    published_at=_START,
    node_id=None,
)


def test_a_record_is_written_as_the_domain_defines_it() -> None:
    written = write_job.whole(_FINAL)
    assert json.loads(written) == make_record(_FINAL)
    assert list(json.loads(written)) == list(make_record(_FINAL))
    assert written.isascii()


def test_whole_seconds_have_no_fraction_but_log_lines_always_have_milliseconds() -> None:
    record = json.loads(write_job.whole(_FINAL))
    assert record["created_at"] == "2025-06-01T10:00:00Z"
    assert record["started_at"] == "2025-06-01T10:00:00.005Z"
    line = LogLine(seq=1, ts=_START, level=LogLevel.WARN, msg="x")
    assert write_log_line.whole(line) == '{"ts":"2025-06-01T10:00:00.000Z","level":"warn","msg":"x"}'


def test_without_a_caller_who_sees_payloads_a_record_has_none() -> None:
    record = json.loads(write_job(_FINAL))
    shown = make_record(_FINAL) | {
        "input": None,
        "output": None,
        "error": "E: (hidden)",
        "progress": {"fraction": 0.5, "message": "(hidden)"},
        "payload_hidden": True,
    }
    assert record == shown
    assert list(record) == list(shown)
    expired = replace(_FINAL, status=Status.CANCELLED, error="Expired: not started by 2025-06-01T10:00:00Z")
    assert json.loads(write_job(expired))["error"] == expired.error
    line = LogLine(seq=1, ts=_START, level=LogLevel.WARN, msg="x")
    assert json.loads(write_log_line(line))["msg"] == "(hidden)"
