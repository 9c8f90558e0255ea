"""What clients read of a job's runs."""

from __future__ import annotations

from datetime import datetime

from ava.domain.jobs.job import JobKey
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.moves.log_lines import CONTINUING, OPENING, SEQ_PER_RUN
from ava.store.jobs.moves.rules import MAX_RUN_USAGES

_RUN_LINES = Statement(f"""
SELECT (seq / {SEQ_PER_RUN})::int, ts, msg FROM job_lines
WHERE tenant_id = %(tenant_id)s AND job_id = %(id)s::uuid AND (msg IN ('{OPENING}', '{CONTINUING}')
    OR msg ~ '^Handler (completed in|failed after|cancelled after|lost|interrupted|waits for|retries later)')
ORDER BY first_seq, seq LIMIT {2 * MAX_RUN_USAGES}
""")


def run_lines(connection: Connection, *, job: JobKey) -> list[tuple[int, datetime, str]]:
    """Returns the lines that begin or end the first runs of a job, oldest first: the run's number, time and text."""
    found = connection.exec_driver_sql(_RUN_LINES, rows.job_parameters(job))
    return [(run_no, ts, msg) for run_no, ts, msg in found]


_RUN_USAGE = Statement("""
SELECT run_usage FROM jobs WHERE tenant_id = %(tenant_id)s AND id = %(id)s::uuid
""")


def run_usage(connection: Connection, *, job: JobKey) -> dict[int, tuple[int | None, int | None, int | None]]:
    """Returns what the runs of a job with several have used, by their numbers.

    Each is the microseconds of processor time, the most MiB of memory, and the milliseconds until its start.
    """
    found = connection.exec_driver_sql(_RUN_USAGE, rows.job_parameters(job)).scalar_one_or_none()
    return {run_no: (cpu_us, peak_mb, wait_ms) for run_no, cpu_us, peak_mb, wait_ms in found or ()}
