"""The move that cancels queued jobs whose handler was not entered in time. A claim refuses them from then on."""

from __future__ import annotations

from ava.domain.jobs.system_cancel import SystemCancel
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

#: The rows of the index `jobs_expiring` that have expired.
_HAS_EXPIRED = "status = 'queued' AND first_run_no IS NULL AND expires_at <= now()"
#: A condition: some jobs have expired. It has the order of an index, because an EXISTS may scan the table.
ARE_EXPIRED = f"(SELECT expires_at FROM jobs WHERE {_HAS_EXPIRED} ORDER BY expires_at LIMIT 1) IS NOT NULL"

# The moment is written as `ava.domain.record.format_time` writes it.
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
    """Cancel jobs that have expired, earliest first. Returns the number of jobs."""
    return connection.exec_driver_sql(_EXPIRE, {"limit": limit}).rowcount
