"""What clients read of a job's runs."""

from __future__ import annotations

from datetime import datetime

from ava.domain.jobs.job import JobKey
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows

__all__ = ["run_lines"]

# At most as many lines are read as a job's log has.
_RUN_LINES = Statement("""
SELECT ts, msg FROM job_logs
WHERE tenant_id = %(tenant_id)s AND job_id = %(id)s::uuid AND (msg IN ('Worker handler started', 'Handler continues')
    OR msg ~ '^Handler (completed in|failed after|cancelled after|lost|interrupted|waits for)')
ORDER BY seq LIMIT 400
""")


def run_lines(connection: Connection, *, job: JobKey) -> list[tuple[datetime, str]]:
    """Returns the lines that begin or end the first 200 runs of a job, oldest first."""
    return [(ts, msg) for ts, msg in connection.exec_driver_sql(_RUN_LINES, rows.job_parameters(job))]
