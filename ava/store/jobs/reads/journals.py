"""Reads of a job's journal and waits for clients."""

from __future__ import annotations

from ava.domain.counts import MAX_IN_TOTAL
from ava.domain.jobs.job import Job, JobKey
from ava.domain.jobs.waits import ShownEntry, ShownWait
from ava.domain.limits.table import PAYLOAD_BYTES, RESPONSE_BYTES
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.journal import CHILD_OF_ENTRY, CHILDREN, read_child
from ava.store.jobs.transitions.log_lines import SEQ_PER_RUN

#: When the handler was entered after the wait `w`: the time of the next run's first line. Null until then.
ENDED_AT = f"""(SELECT l.times[1] FROM job_logs AS l
    WHERE l.tenant_id = w.tenant_id AND l.job_id = w.job_id AND l.seq >= (w.run_no + 1) * {SEQ_PER_RUN}
    ORDER BY l.seq LIMIT 1)"""


_ENTRY_ROWS = RecordRows(
    ShownEntry,
    "k",
    columns={
        "value_json": "CASE WHEN k.bytes <= %(large)s THEN k.value::text END",
        "value_bytes": "CASE WHEN k.bytes > %(large)s THEN k.bytes END",
    },
    without=("child",),
)
# Stops after the entry that makes the values exceed the size of a response.
_ENTRIES = Statement(f"""
SELECT {_ENTRY_ROWS.columns}, {CHILDREN.columns}
FROM (
    SELECT k.*, s.bytes, sum(least(s.bytes, %(large)s)) OVER (ORDER BY k.n) - least(s.bytes, %(large)s) AS before
    FROM (
        SELECT * FROM job_journal WHERE tenant_id = %(tenant_id)s AND job_id = %(id)s::uuid AND n > %(after)s
        ORDER BY n LIMIT %(limit)s OFFSET %(offset)s
    ) AS k CROSS JOIN LATERAL (SELECT coalesce(octet_length(k.value::text), 0) AS bytes OFFSET 0) AS s
) AS k
{CHILD_OF_ENTRY}
WHERE k.before <= %(max_bytes)s ORDER BY k.n
""")


def entries(
    connection: Connection, job: JobKey, *, after: int, limit: int, offset: int = 0, large: int = PAYLOAD_BYTES.value
) -> list[ShownEntry]:
    """Return entries of a job's journal, in the order of writing. Values of more than `large` bytes are left out.

    One entry more than fits into a response is the last.
    """
    given = rows.job_parameters(job) | {"after": after, "limit": limit, "offset": offset, "large": large}
    found = connection.exec_driver_sql(_ENTRIES, given | {"max_bytes": RESPONSE_BYTES.value})
    return [_ENTRY_ROWS.read(row, child=read_child(row[_ENTRY_ROWS.count :])) for row in found]


_JOBS = "coalesce(w.waiting_for -> 'jobs', '[]')"
_WAIT_ROWS = RecordRows(ShownWait, "w", columns={"job_ids": _JOBS, "ended_at": ENDED_AT}, readers={"job_ids": list})
_WAITS = Statement(f"""
SELECT {_WAIT_ROWS.columns}
FROM job_waits AS w
WHERE w.tenant_id = %(tenant_id)s AND w.job_id = %(id)s::uuid AND w.run_no < %(before)s
ORDER BY w.run_no DESC LIMIT %(limit)s OFFSET %(offset)s
""")


def waits(connection: Connection, job: Job, *, before: int, limit: int, offset: int) -> list[ShownWait]:
    """Return waits of a job, the latest first."""
    given = rows.job_parameters(job.key) | {"before": before, "limit": limit, "offset": offset}
    return [_WAIT_ROWS.read(row) for row in connection.exec_driver_sql(_WAITS, given)]


def _count(table: str) -> Statement:
    return Statement(f"""
SELECT count(*) FROM (
    SELECT FROM {table} WHERE tenant_id = %(tenant_id)s AND job_id = %(id)s::uuid LIMIT {MAX_IN_TOTAL}) AS counted
""")


_COUNT_ENTRIES, _COUNT_WAITS = _count("job_journal"), _count("job_waits")


def count_entries(connection: Connection, job: JobKey) -> int:
    """Return the number of entries of a job's journal, counted up to `MAX_IN_TOTAL`."""
    return int(connection.exec_driver_sql(_COUNT_ENTRIES, rows.job_parameters(job)).scalar_one())


def count_waits(connection: Connection, job: Job) -> int:
    """Return the number of waits of a job, counted up to `MAX_IN_TOTAL`."""
    return int(connection.exec_driver_sql(_COUNT_WAITS, rows.job_parameters(job.key)).scalar_one())
