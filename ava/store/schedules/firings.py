"""Firings of schedules: listed for their tenants, and deleted past retention."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ava.domain import ids
from ava.domain.counts import MAX_IN_TOTAL, PageBounds
from ava.domain.jobs.explanation import JobFiring
from ava.domain.jobs.job import Job
from ava.domain.schedules.firing import Firing, Outcome, firing_position
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows as job_rows
from ava.store.schedules.definitions import schedule_uuid

_PAGE = Statement("""
SELECT f.slot, f.fold, f.at, f.outcome, f.reason, f.job_id::text
FROM schedule_firings AS f JOIN schedules AS s ON s.tenant_id = f.tenant_id AND s.id = f.schedule_id
WHERE f.tenant_id = %(tenant_id)s AND f.schedule_id = %(schedule_id)s::uuid
    AND (f.at, f.slot, f.fold) < (%(at)s::timestamptz, %(slot)s::timestamp, %(fold)s::smallint)
ORDER BY f.at DESC, f.slot DESC, f.fold DESC LIMIT %(limit)s OFFSET %(offset)s
""")
#: The position before all firings.
_NEWEST = (datetime.max, datetime.max)


def page(connection: Connection, *, tenant_id: str, schedule_id: str, bounds: PageBounds) -> tuple[list[Firing], int]:
    """Return firings of a schedule of a tenant, newest first, and their number up to `MAX_IN_TOTAL`."""
    position = None if bounds.after_id is None else firing_position(bounds.after_id)
    given: dict[str, Any] = {"tenant_id": tenant_id, "schedule_id": schedule_uuid(schedule_id)}
    parameters = given | {
        "at": "infinity" if position is None else position[0],
        "slot": "infinity" if position is None else position[1].replace(fold=0),
        "fold": 0 if position is None else position[1].fold,
        "limit": bounds.limit,
        "offset": bounds.offset,
    }
    found = [_firing(row) for row in connection.exec_driver_sql(_PAGE, parameters)]
    return found, int(connection.exec_driver_sql(_COUNT, given | {"limit": MAX_IN_TOTAL}).scalar_one())


def _firing(row: Any) -> Firing:
    local_time, fold, at, outcome, reason, job_id = row
    return Firing(
        local_time=local_time.replace(fold=fold),
        at=at,
        outcome=Outcome(outcome),
        reason=reason,
        job_id=None if job_id is None else ids.encode("job", job_id),
    )


_COUNT = Statement("""
SELECT count(*) FROM (
    SELECT FROM schedule_firings AS f JOIN schedules AS s ON s.tenant_id = f.tenant_id AND s.id = f.schedule_id
    WHERE f.tenant_id = %(tenant_id)s AND f.schedule_id = %(schedule_id)s::uuid
    LIMIT %(limit)s
) AS c
""")


# The schedule may be deleted; its firings stay until retention.
_FIRING_OF = Statement("""
SELECT f.slot, f.timezone, e.after_id::text
FROM schedule_firings AS f
LEFT JOIN jobs AS j ON j.tenant_id = f.tenant_id AND j.id = f.job_id AND j.waits_for = 'jobs' AND j.run_no = 0
LEFT JOIN job_edges AS e ON e.tenant_id = j.tenant_id AND e.job_id = j.id AND e.run_no = 0
WHERE f.tenant_id = %(tenant_id)s AND f.schedule_id = %(schedule_id)s::uuid AND f.at = %(at)s
    AND f.job_id = %(job_id)s::uuid
""")


def firing_of(connection: Connection, job: Job) -> JobFiring | None:
    """Return the firing that created a job of the caller's tenant; None if there is none or it was deleted."""
    if (uuid := schedule_uuid(job.triggered_by)) is None:
        return None
    parameters = {
        "tenant_id": job.tenant_id,
        "schedule_id": uuid,
        "at": job.scheduled_at,
        "job_id": job_rows.job_uuid(job.id),
    }
    row = connection.exec_driver_sql(_FIRING_OF, parameters).first()
    if row is None:
        return None
    local_time, timezone, waits_for = row
    return JobFiring(
        local_time=local_time, timezone=timezone, waits_for=None if waits_for is None else ids.encode("job", waits_for)
    )


_DELETE_OLD = Statement("""
DELETE FROM schedule_firings WHERE (tenant_id, schedule_id, timezone, slot, fold) IN (
    SELECT tenant_id, schedule_id, timezone, slot, fold FROM schedule_firings
    WHERE at < now() - %(days)s * interval '1 day' ORDER BY at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
""")


def delete_old(connection: Connection, *, retention_days: float, limit: int) -> int:
    """Delete the oldest firings past retention. Returns their number."""
    return connection.exec_driver_sql(_DELETE_OLD, {"days": retention_days, "limit": limit}).rowcount
