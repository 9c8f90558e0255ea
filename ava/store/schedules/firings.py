"""Firings of schedules: listed for their tenants, and deleted past retention."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ava.domain.counts import MAX_IN_TOTAL, PageBounds
from ava.domain.jobs.explanation import JobFiring
from ava.domain.jobs.job import Job
from ava.domain.schedules.firing import Firing, firing_position
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Deletion, Statement
from ava.store.jobs import rows as job_rows
from ava.store.schedules.definitions import schedule_uuid

_ROWS = RecordRows(Firing, "f", without=("local_time",))
_PAGE = Statement(f"""
SELECT {_ROWS.columns}, f.slot, f.fold
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
    found = [
        _ROWS.read(row, local_time=row[-2].replace(fold=row[-1]))
        for row in connection.exec_driver_sql(_PAGE, parameters)
    ]
    return found, int(connection.exec_driver_sql(_COUNT, given | {"limit": MAX_IN_TOTAL}).scalar_one())


_COUNT = Statement("""
SELECT count(*) FROM (
    SELECT FROM schedule_firings AS f JOIN schedules AS s ON s.tenant_id = f.tenant_id AND s.id = f.schedule_id
    WHERE f.tenant_id = %(tenant_id)s AND f.schedule_id = %(schedule_id)s::uuid
    LIMIT %(limit)s
) AS c
""")


_JOB_ROWS = RecordRows(JobFiring, "f", columns={"local_time": "f.slot", "waits_for": "e.after_id::text"})
# The schedule may be deleted; its firings stay until retention.
_FIRING_OF = Statement(f"""
SELECT {_JOB_ROWS.columns}
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
    return _JOB_ROWS.first(connection.exec_driver_sql(_FIRING_OF, parameters))


#: Deletes firings past retention.
delete_old = Deletion("schedule_firings", "at < now() - %(retention_days)s * interval '1 day'", order="at")
