"""Reads of a job's runs for clients."""

from __future__ import annotations

from ava.domain.counts import MAX_IN_TOTAL
from ava.domain.jobs.job import JobKey
from ava.domain.jobs.run_log import EndedJobRun
from ava.domain.jobs.run_outcome import Ending
from ava.domain.jobs.run_usage import RunUsage
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows

_OF_JOB = f"FROM job_runs WHERE tenant_id = %(tenant_id)s AND job_id = %(id)s::uuid AND outcome <> '{Ending.RELEASED}'"
_RETAINED_RUNS = Statement(f"""
SELECT run_no, attempt, started_at, ended_at, outcome, cpu_us, peak_memory_mb, wait_ms
{_OF_JOB} AND run_no > %(after)s ORDER BY run_no LIMIT %(limit)s OFFSET %(offset)s
""")


def retained_runs(connection: Connection, *, job: JobKey, after: int, limit: int, offset: int) -> list[EndedJobRun]:
    """Return runs of a job that have rows in `job_runs`, without runs that never entered the handler."""
    given = rows.job_parameters(job) | {"after": after, "limit": limit, "offset": offset}
    return [
        EndedJobRun(
            run_no=run_no,
            attempt=attempt,
            started_at=started_at,
            ended_at=ended_at,
            ending=Ending(ending),
            usage=RunUsage(cpu_us=cpu_us, peak_memory_mb=peak_mb),
            wait_ms=wait_ms,
        )
        for run_no, attempt, started_at, ended_at, ending, cpu_us, peak_mb, wait_ms in connection.exec_driver_sql(
            _RETAINED_RUNS, given
        )
    ]


_COUNT = Statement(f"""
SELECT (SELECT count(*) FROM (SELECT {_OF_JOB} LIMIT {MAX_IN_TOTAL}) AS counted),
    (SELECT run_no {_OF_JOB} ORDER BY run_no DESC LIMIT 1)
""")


def count(connection: Connection, *, job: JobKey) -> tuple[int, int | None]:
    """Return the number of these runs, counted up to `MAX_IN_TOTAL`, and the number of the last one."""
    number, last_no = connection.exec_driver_sql(_COUNT, rows.job_parameters(job)).one()
    return number, last_no
