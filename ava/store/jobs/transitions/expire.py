"""Find and end late jobs: cancel jobs that expired before their handler was entered, and find overdue jobs.

Claims refuse expired jobs. `cancel` stops overdue jobs with their descendants.
"""

from __future__ import annotations

from dataclasses import dataclass

from ava.domain import ids
from ava.domain.jobs.system_cancel import SystemCancel
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

#: The expired rows of the index `jobs_expiring`.
_HAS_EXPIRED = "status = 'queued' AND first_run_no IS NULL AND expires_at <= now()"
#: Condition: some jobs have expired. ORDER BY, because EXISTS may scan the table.
ARE_EXPIRED = f"(SELECT expires_at FROM jobs WHERE {_HAS_EXPIRED} ORDER BY expires_at LIMIT 1) IS NOT NULL"

# Formats the time like `ava.domain.record.format_time`.
_EXPIRE = Statement(f"""
WITH r AS MATERIALIZED (
    SELECT tenant_id, id, '{SystemCancel.EXPIRED}: not started by ' || replace(
        to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS'), '.000', '') || 'Z' AS error
    FROM jobs WHERE {_HAS_EXPIRED}
    ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE jobs AS j SET status = 'cancelled', stop_status = 'cancelled', error = r.error, waits_for = NULL, run_at = NULL,
    cancel_requested_at = clock_timestamp(), completed_at = clock_timestamp()
FROM r WHERE j.tenant_id = r.tenant_id AND j.id = r.id
""")


def expire(connection: Connection, *, limit: int) -> int:
    """Cancel expired jobs, earliest expiry first. Returns their number."""
    return connection.exec_driver_sql(_EXPIRE, {"limit": limit}).rowcount


_HAS_DEADLINE = "deadline_at IS NOT NULL AND cancel_requested_at IS NULL AND status IN ('queued', 'running')"
ARE_OVERDUE = f"""(SELECT deadline_at FROM jobs WHERE {_HAS_DEADLINE} AND deadline_at <= now()
    ORDER BY deadline_at LIMIT 1) IS NOT NULL"""


@dataclass(frozen=True, kw_only=True, slots=True)
class OverdueJob:
    tenant_id: str
    job_id: str
    #: Seconds from its creation or its date, whichever is later, to the deadline.
    seconds: float


_OVERDUE = Statement(f"""
SELECT tenant_id, id::text, round(extract(epoch FROM deadline_at - greatest(created_at, scheduled_at)), 3)::float8
FROM jobs WHERE {_HAS_DEADLINE} AND deadline_at <= now() ORDER BY deadline_at LIMIT %(limit)s
""")


def overdue(connection: Connection, *, limit: int) -> list[OverdueJob]:
    """Return overdue jobs, earliest deadline first."""
    return [
        OverdueJob(tenant_id=tenant_id, job_id=ids.encode("job", uuid), seconds=seconds)
        for tenant_id, uuid, seconds in connection.exec_driver_sql(_OVERDUE, {"limit": limit})
    ]
