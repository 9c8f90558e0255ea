"""Convert rows from PostgreSQL to domain objects, and UUIDs to TypeIDs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from ava.domain import ids
from ava.domain.jobs.job import Job, JobKey, LogLevel, LogLine, RunKey, Status, Trigger
from ava.domain.jobs.wait_reasons import SUSPENDED, WaitsFor
from ava.domain.limits.table import PAYLOAD_BYTES
from ava.domain.record import format_time


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


_EARLIER_RUNS = earlier_runs("j")
#: The columns of a job, in the order of `job`.
JOB_COLUMNS = (
    "j.id::text, j.worker_id, j.tenant_id, j.status, j.trigger, j.priority, j.input::text, j.triggered_by, "
    "j.created_at, j.started_at, j.completed_at, j.output::text, j.error, j.scheduled_at, j.attempt, j.max_attempts, "
    "j.cancel_requested_at, j.cancelled_by, j.progress::text, j.retry_of::text, j.queue, j.run_no, j.waits_for, "
    "j.run_at, j.published_at, j.node_id::text, j.traceparent, j.tags::text, j.expires_at, j.first_run_no, "
    f"j.parent_id::text, j.tree_id::text, j.name, {_WAITING_FOR}, j.deadline_at, j.first_started_at, "
    f"j.cpu_us, j.peak_memory_mb, j.ready_at, j.stop_status, {_EARLIER_RUNS}, j.origin, "
    "j.approval::text"
)
#: The columns of a job that starts. Without subselects, because PostgreSQL opens the tables of waits and runs at each
#: execution of a statement that names them.
STARTED_COLUMNS = JOB_COLUMNS.replace(_WAITING_FOR, "NULL").replace(_EARLIER_RUNS, "NULL")
_COLUMNS = 43

#: The sizes of a job's input and output in bytes, as a FROM item. `OFFSET 0` avoids computing them twice. Large sizes
#: are stored, because measuring a payload means reading it; payloads from older releases are measured.
SIZES = """CROSS JOIN LATERAL (
    SELECT coalesce(j.input_bytes, octet_length(j.input::text)) AS input,
        coalesce(j.output_bytes, octet_length(j.output::text)) AS output OFFSET 0
) AS size"""
#: `JOB_COLUMNS` for `light_job`, used with `SIZES`: without an input of more than `large_input` bytes and an output of
#: more than `large_output` bytes.
LIGHT_COLUMNS = (
    JOB_COLUMNS.replace("j.input::text", "CASE WHEN size.input <= %(large_input)s THEN j.input::text END").replace(
        "j.output::text", "CASE WHEN size.output <= %(large_output)s THEN j.output::text END"
    )
    + ", CASE WHEN size.input > %(large_input)s THEN size.input END"
    + ", CASE WHEN size.output > %(large_output)s THEN size.output END"
)


def light_job(row: Any) -> Job:
    """Return the job of a row of `LIGHT_COLUMNS`; `input_bytes` and `output_bytes` are sizes of omitted payloads."""
    input_bytes, output_bytes = row[_COLUMNS:]
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


def job(row: Any) -> Job:
    (id_, worker_id, tenant_id, status, trigger, priority, input_json, triggered_by, created_at, started_at,
     completed_at, output_json, error, scheduled_at, attempt, max_attempts, cancel_requested_at, cancelled_by,
     progress_json, retry_of, queue, run_no, waits_for, run_at, published_at, node_id, traceparent, tags_json,
     expires_at, first_run_no, parent_id, tree_id, name, waiting_for_json, deadline_at, first_started_at,
     cpu_us, peak_memory_mb, ready_at, stop_status, earlier_runs, origin_text,
     approval_json) = row[:_COLUMNS]  # fmt: skip
    return Job(
        id=ids.encode("job", id_),
        worker_id=worker_id,
        tenant_id=tenant_id,
        status=Status(status),
        trigger=Trigger(trigger),
        priority=priority,
        input_json=input_json,
        triggered_by=triggered_by,
        created_at=created_at,
        started_at=started_at,
        completed_at=completed_at,
        output_json=output_json,
        error=error,
        scheduled_at=scheduled_at,
        attempt=attempt,
        max_attempts=max_attempts,
        cancel_requested_at=cancel_requested_at,
        cancelled_by=cancelled_by,
        progress_json=progress_json,
        retry_of=None if retry_of is None else ids.encode("job", retry_of),
        queue=queue,
        run_no=run_no,
        waits_for=None if waits_for is None else WaitsFor(waits_for),
        run_at=run_at,
        published_at=published_at,
        node_id=node_id,
        traceparent=traceparent,
        tags_json=tags_json or "{}",
        expires_at=expires_at,
        first_run_no=first_run_no,
        parent_id=None if parent_id is None else ids.encode("job", parent_id),
        tree_id=None if tree_id is None else ids.encode("job", tree_id),
        name=name,
        waiting_for_json=_with_time(waiting_for_json, run_at),
        deadline_at=deadline_at,
        first_started_at=first_started_at,
        ran_ms=None if earlier_runs is None else earlier_runs[0],
        cpu_us=cpu_us,
        peak_memory_mb=peak_memory_mb,
        ready_at=ready_at,
        wait_ms=None if earlier_runs is None else earlier_runs[1],
        stop_status=None if stop_status is None else Status(stop_status),
        origin_text=origin_text,
        approval_json=approval_json,
    )


def _with_time(waiting_for_json: str | None, run_at: datetime | None) -> str | None:
    """Return the JSON of `waiting_for` with the time when the wait ends or times out."""
    if waiting_for_json is None or run_at is None:
        return waiting_for_json
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
