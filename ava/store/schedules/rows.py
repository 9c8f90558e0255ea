"""Convert rows from PostgreSQL to schedules, and their ids to UUIDs."""

from __future__ import annotations

from typing import Any

from ava.domain import ids
from ava.domain.schedules.schedule_record import CatchUp, Overlap, Schedule

#: The columns of a schedule, in the order in which `schedule` reads them.
SCHEDULE_COLUMNS = (
    "s.id::text, s.worker_id, s.tenant_id, s.name, s.cron, s.timezone, s.input::text, s.priority, s.enabled, "
    "s.overlap, s.catch_up, s.catch_up_seconds, s.spread_seconds, s.starts_at, s.ends_at, s.decided_until, "
    "s.next_run_at, s.last_run_at, s.last_job_id::text, s.created_by, s.created_at, s.updated_at, s.expires_in"
)
#: The number of these columns.
COLUMNS = 23


def schedule(row: Any) -> Schedule:
    """Return the schedule of a row of `SCHEDULE_COLUMNS`."""
    (id_, worker_id, tenant_id, name, cron, timezone, input_json, priority, enabled, overlap, catch_up,
     catch_up_seconds, spread_seconds, starts_at, ends_at, decided_until, next_run_at, last_run_at, last_job_id,
     created_by, created_at, updated_at, expires_in) = row[:COLUMNS]  # fmt: skip
    return Schedule(
        id=ids.encode("sch", id_),
        worker_id=worker_id,
        tenant_id=tenant_id,
        name=name,
        cron=cron,
        timezone=timezone,
        input_json=input_json,
        priority=priority,
        enabled=enabled,
        overlap=Overlap(overlap),
        catch_up=CatchUp(catch_up),
        catch_up_seconds=catch_up_seconds,
        spread_seconds=spread_seconds,
        starts_at=starts_at,
        ends_at=ends_at,
        decided_until=decided_until,
        next_run_at=next_run_at,
        last_run_at=last_run_at,
        last_job_id=None if last_job_id is None else ids.encode("job", last_job_id),
        created_by=created_by,
        created_at=created_at,
        updated_at=updated_at,
        expires_in=expires_in,
    )


def schedule_uuid(schedule_id: str) -> str | None:
    """Return the UUID of a schedule id; None if it is invalid."""
    value = ids.decode("sch", schedule_id)
    return None if value is None else str(value)
