"""Reads of a job's runs for clients."""

from __future__ import annotations

from ava.domain.jobs.job import JobKey
from ava.domain.jobs.run_log import EndedJobRun
from ava.domain.jobs.run_outcome import Ending
from ava.domain.jobs.run_usage import RunUsage
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows

#: Max runs of a job to read, the first ones.
MAX_RUNS = 200

_RETAINED_RUNS = Statement(f"""
SELECT run_no, started_at, ended_at, outcome, cpu_us, peak_memory_mb, wait_ms FROM job_runs
WHERE tenant_id = %(tenant_id)s AND job_id = %(id)s::uuid AND outcome <> '{Ending.RELEASED}'
ORDER BY run_no LIMIT {MAX_RUNS}
""")


def retained_runs(connection: Connection, *, job: JobKey) -> list[EndedJobRun]:
    """Return the first runs of a job that have rows in `job_runs`, without runs that never entered the handler."""
    return [
        EndedJobRun(
            run_no=run_no,
            started_at=started_at,
            ended_at=ended_at,
            ending=Ending(ending),
            usage=RunUsage(cpu_us=cpu_us, peak_memory_mb=peak_mb),
            wait_ms=wait_ms,
        )
        for run_no, started_at, ended_at, ending, cpu_us, peak_mb, wait_ms in connection.exec_driver_sql(
            _RETAINED_RUNS, rows.job_parameters(job)
        )
    ]
