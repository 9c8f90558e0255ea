"""Convert rows from PostgreSQL to domain objects, and UUIDs to TypeIDs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from ava.domain import ids
from ava.domain.jobs.job import Job, JobKey, LogLevel, LogLine, RunKey
from ava.domain.jobs.wait_reasons import SUSPENDED, WaitsFor
from ava.domain.limits.table import PAYLOAD_BYTES
from ava.domain.record import format_time
from ava.store.engine.record_rows import RecordRows


def reasons(those: Iterable[WaitsFor]) -> str:
    return "(" + ", ".join(f"'{each}'" for each in those) + ")"


_WAITING_FOR = (
    f"CASE WHEN j.waits_for IN {reasons(SUSPENDED)} THEN (SELECT w.waiting_for::text FROM job_waits AS w "
    "WHERE (w.tenant_id, w.job_id, w.run_no) = (j.tenant_id, j.id, j.run_no)) END"
)


def earlier_runs(row: str) -> str:
    """Return SQL for the milliseconds that a job's earlier runs ran in its last attempt and waited to start.

    An array of two; null for a job with one run. Only runs that ended in a wait count as running time, because only
    waits continue an attempt.
    """
    present = f"{row}.run_no + ({row}.started_at IS NULL)::int"
    return f"""CASE WHEN {row}.first_run_no < {present} THEN (
    SELECT ARRAY[
        sum(floor(extract(epoch FROM e.ended_at - e.started_at) * 1000)) FILTER (
            WHERE e.outcome = 'waited' AND e.attempt = {row}.attempt + ({row}.started_at IS NULL)::int)::bigint,
        sum(e.wait_ms)::bigint]
    FROM job_runs AS e
    WHERE e.tenant_id = {row}.tenant_id AND e.job_id = {row}.id AND e.run_no < {present}) END"""


_ROWS = RecordRows(
    Job,
    "j",
    columns={
        "node_id": "j.node_id::text",
        "tags_json": "coalesce(j.tags::text, '{}')",
        "waiting_for_json": _WAITING_FOR,
        "earlier_ms": earlier_runs("j"),
        "origin_text": "j.origin",
    },
    without=("has_settings", "has_journal", "is_existing", "input_bytes", "output_bytes"),
)
JOB_COLUMNS = _ROWS.columns
#: The columns of a job that starts. Without subselects, because PostgreSQL opens the tables of waits and runs at each
#: execution of a statement that names them.
STARTED_COLUMNS = _ROWS.select(waiting_for_json="NULL", earlier_ms="NULL")


def job_columns(**columns: str) -> str:
    """Return `JOB_COLUMNS` with some columns replaced by other SQL."""
    return _ROWS.select(**columns)


#: The sizes of a job's input and output in bytes, as a FROM item. `OFFSET 0` avoids computing them twice. Large sizes
#: are stored, because measuring a payload means reading it; payloads from older releases are measured.
SIZES = """CROSS JOIN LATERAL (
    SELECT coalesce(j.input_bytes, octet_length(j.input::text)) AS input,
        coalesce(j.output_bytes, octet_length(j.output::text)) AS output OFFSET 0
) AS size"""
#: `JOB_COLUMNS` for `light_job`, used with `SIZES`: without an input of more than `large_input` bytes and an output of
#: more than `large_output` bytes.
_LARGE = "CASE WHEN size.{0} > %(large_{0})s THEN size.{0} END"
LIGHT_COLUMNS = ", ".join(
    (
        _ROWS.select(
            input_json="CASE WHEN size.input <= %(large_input)s THEN j.input::text END",
            output_json="CASE WHEN size.output <= %(large_output)s THEN j.output::text END",
        ),
        _LARGE.format("input"),
        _LARGE.format("output"),
    )
)


def light_job(row: Any) -> Job:
    """Return the job of a row of `LIGHT_COLUMNS`; `input_bytes` and `output_bytes` are sizes of omitted payloads."""
    input_bytes, output_bytes = row[_ROWS.count :]
    light = job(row)
    if input_bytes is None and output_bytes is None:
        return light
    input_json = light.input_json if input_bytes is None else "null"
    return replace(light, input_json=input_json, input_bytes=input_bytes, output_bytes=output_bytes)


def large_bytes(json_string: str | None) -> int | None:
    """Return the value of the column `input_bytes` or `output_bytes` for a JSON string: None unless it is large."""
    if json_string is None or 4 * len(json_string) <= PAYLOAD_BYTES.value:
        return None
    size = len(json_string) if json_string.isascii() else len(json_string.encode())
    return size if size > PAYLOAD_BYTES.value else None


def job(row: Any, **others: Any) -> Job:
    """Return the job of a row that begins with the columns; `others` are its fields without a column."""
    found = _ROWS.read(row, **others)
    if found.waiting_for_json is None or found.run_at is None:
        return found
    return replace(found, waiting_for_json=_with_time(found.waiting_for_json, found.run_at))


def _with_time(waiting_for_json: str, run_at: datetime) -> str:
    """Return the JSON of `waiting_for` with the time when the wait ends or times out."""
    return f'{waiting_for_json.removesuffix("null}")}"{format_time(run_at)}"}}'


# Watchers read the same jobs several times per second. The cache holds as many jobs as one process may watch.
@lru_cache(maxsize=4_096)
def job_uuid(job_id: str) -> str | None:
    """Return the UUID of a job id; None if it is invalid."""
    return ids.to_uuid("job", job_id)


def job_parameters(key: JobKey) -> dict[str, object]:
    return {"tenant_id": key.tenant_id, "id": job_uuid(key.id)}


def run_parameters(run: RunKey) -> dict[str, object]:
    return {"tenant_id": run.tenant_id, "id": job_uuid(run.job_id), "run_no": run.run_no}


def run_key(row: Sequence[Any]) -> RunKey:
    """Return the key of a run, given as tenant, UUID of the job, and run number."""
    tenant_id, uuid, run_no = row
    return RunKey(tenant_id, ids.encode("job", uuid), run_no)


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundLines:
    lines: Sequence[LogLine]
    #: Whether more lines follow, or precede if the last lines were requested.
    has_more: bool
    #: The last searched `seq`, if a search stopped before it found enough lines.
    scanned_until: int | None = None


def log_line(row: Any) -> LogLine:
    seq, ts, level, msg = row
    return LogLine(seq=seq, ts=ts, level=LogLevel(level), msg=msg)
