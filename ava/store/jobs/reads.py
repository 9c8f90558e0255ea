"""What clients read of jobs. Every statement here is scoped to a tenant, and this is the only module that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ava.domain.job import Job, LogLevel
from ava.domain.job_filter import JobFilter
from ava.domain.limits import ANSWER_BYTES
from ava.domain.paging import MOST_IN_TOTAL
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.filters import BY_STATUS, BY_WORKER, filter_parameters, ranges
from ava.store.jobs.rows import FoundLines

__all__ = ["JobPage", "count", "log_lines", "page", "show", "show_many"]


@dataclass(frozen=True, kw_only=True)
class JobPage:
    """A page of a list."""

    jobs: Sequence[Job]
    #: True if more jobs follow these, because there are more than were asked for or the page is full.
    has_more: bool


_SHOW_MANY = Statement(f"""
SELECT {rows.LIGHT_COLUMNS} FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS asked (id, n)
JOIN jobs AS j ON j.id = asked.id {rows.SIZES} WHERE j.tenant_id = %(tenant_id)s ORDER BY asked.n
""")


def show_many(connection: Connection, *, tenant_id: str, job_ids: Sequence[str]) -> list[Job]:
    """Returns jobs of a tenant in the order of the ids, without those that do not exist.

    Beyond the bytes that an answer has, large inputs and outputs are left out.
    """
    parameters = {
        "ids": [rows.job_uuid(job_id) for job_id in job_ids],
        "tenant_id": tenant_id,
        "large": _large_bytes(len(job_ids)),
    }
    light = [rows.light_job(row) for row in connection.exec_driver_sql(_SHOW_MANY, parameters)]
    full = _read_large(connection, light)
    return [*full, *light[len(full) :]]


def _large_bytes(jobs: int) -> int:
    """Returns the bytes above which an input and output are large, so that this many small ones fit in an answer."""
    return ANSWER_BYTES.value // max(1, jobs)


def _read_large(connection: Connection, light: Sequence[Job]) -> list[Job]:
    """Returns the first of these jobs with their large inputs and outputs, as many as an answer has bytes for.

    They are read one by one, because a single one may be most of an answer.
    """
    full: list[Job] = []
    used = 0
    for job in light:
        found: Job | None = job
        if job.input_bytes is not None:
            used += job.input_bytes + (job.output_bytes or 0)
            if full and used > ANSWER_BYTES.value:
                break
            found = show(connection, tenant_id=job.tenant_id, job_id=job.id)
        else:
            used += len(job.input_json) + len(job.output_json or "")
            if full and used > ANSWER_BYTES.value:
                break
        # Retention may have deleted it meanwhile.
        full.append(found or job)
    return full


_SHOW = Statement(f"""
SELECT {rows.JOB_COLUMNS} FROM jobs AS j WHERE j.id = %(id)s::uuid AND j.tenant_id = %(tenant_id)s
""")


def show(connection: Connection, *, tenant_id: str, job_id: str) -> Job | None:
    """Returns one job of a tenant, or None if the tenant has no such job."""
    if (uuid := rows.job_uuid(job_id)) is None:
        return None
    row = connection.exec_driver_sql(_SHOW, {"id": uuid, "tenant_id": tenant_id}).first()
    return None if row is None else rows.job(row)


def _page(found: str) -> Statement:
    # The ranges give ids alone; only the page itself is read from the table in full.
    return Statement(f"""
SELECT {rows.LIGHT_COLUMNS} FROM (
SELECT found.id FROM {found}
ORDER BY found.id DESC LIMIT %(page)s OFFSET %(offset)s
) AS p JOIN jobs AS j ON j.id = p.id {rows.SIZES} ORDER BY j.id DESC
""")


def _floor_of_deep_page(index: dict[str, str]) -> str:
    """Returns an id, as SQL, below which no job of a deep page is.

    The cost of a deep page must follow from its depth, not from the number of older jobs in each range. So the range
    that seems the densest is read to the page's depth first: the page has no older job from any other range.
    """
    share = "1 OFFSET %(limit)s / (cardinality(%(statuses)s::text[]) * cardinality(%(triggers)s::text[]))"
    densest = f"""(
SELECT kind.status, kind.trigger FROM {ranges(index, limit=share)}
ORDER BY found.id DESC LIMIT 1
)"""
    deepest = ranges(index, kinds=densest, limit="1 OFFSET %(limit)s - 1")
    return f"greatest(%(floor)s::uuid, (\nSELECT found.id FROM {deepest}\n))"


def _deep_page(index: dict[str, str]) -> Statement:
    return _page(ranges(index, floor=_floor_of_deep_page(index), limit="%(limit)s"))


def _count(index: dict[str, str]) -> Statement:
    return Statement(f"""
SELECT count(*) FROM (
SELECT 1 FROM {ranges(index, limit="%(limit)s")}
LIMIT %(limit)s
) AS counted
""")


_PAGE = _page(ranges(BY_STATUS, limit="%(limit)s"))
_PAGE_OF_WORKER = _page(ranges(BY_WORKER, limit="%(limit)s"))
_DEEP_PAGE = _deep_page(BY_STATUS)
_DEEP_PAGE_OF_WORKER = _deep_page(BY_WORKER)
_COUNT = _count(BY_STATUS)
_COUNT_OF_WORKER = _count(BY_WORKER)
#: A page is deep if it ends at this row of the list or after it.
_DEEP = 200


def page(
    connection: Connection,
    *,
    tenant_id: str,
    job_filter: JobFilter,
    limit: int,
    before_id: str | None = None,
    offset: int = 0,
) -> JobPage:
    """Returns jobs of a tenant, newest first: at most `limit`, older than the job `before_id`, after `offset` jobs.

    The page ends early if it has more bytes than an answer.
    """
    parameters = filter_parameters(tenant_id, job_filter, before_id)
    # One job more than asked for shows if there are more.
    parameters |= {"limit": limit + 1 + offset, "offset": offset, "page": limit + 1, "large": _large_bytes(limit)}
    if limit + offset >= _DEEP:
        statement = _DEEP_PAGE if job_filter.worker_id is None else _DEEP_PAGE_OF_WORKER
    else:
        statement = _PAGE if job_filter.worker_id is None else _PAGE_OF_WORKER
    found = [rows.light_job(row) for row in connection.exec_driver_sql(statement, parameters)]
    jobs = _read_large(connection, found[:limit])
    return JobPage(jobs=jobs, has_more=len(jobs) < len(found))


def count(connection: Connection, *, tenant_id: str, job_filter: JobFilter) -> int:
    """Returns the number of jobs that a filter finds, exact up to `MOST_IN_TOTAL`."""
    parameters = filter_parameters(tenant_id, job_filter) | {"limit": MOST_IN_TOTAL}
    statement = _COUNT if job_filter.worker_id is None else _COUNT_OF_WORKER
    return int(connection.exec_driver_sql(statement, parameters).scalar_one())


# No more is returned than begins within the bytes of an answer; `octet_length` reads no compressed text.
_LOG_LINES = Statement(f"""
SELECT seq, ts, level, msg, found FROM (
    SELECT *, count(*) OVER () AS found, sum(octet_length(msg)) OVER (ORDER BY seq) - octet_length(msg) AS before FROM (
        SELECT seq, ts, level, msg FROM job_logs
        WHERE job_id = %(id)s::uuid AND seq > %(after)s
        ORDER BY seq LIMIT %(limit)s
    ) AS next
) AS l WHERE before < {ANSWER_BYTES.value} ORDER BY seq
""")
# The driver writes the level into the statement, so the planner sees that `job_logs_not_info` has it. The order has all
# of the index's columns, though two are constant; else the planner may prefer the primary key.
_LOG_LINES_OF_LEVEL = Statement(f"""
SELECT seq, ts, level, msg, found FROM (
    SELECT *, count(*) OVER () AS found, sum(octet_length(msg)) OVER (ORDER BY seq) - octet_length(msg) AS before FROM (
        SELECT seq, ts, level, msg FROM job_logs
        WHERE job_id = %(id)s::uuid AND seq > %(after)s AND level = %(level)s
        ORDER BY job_id, level, seq LIMIT %(limit)s
    ) AS next
) AS l WHERE before < {ANSWER_BYTES.value} ORDER BY seq
""")


def log_lines(
    connection: Connection, *, job_id: str, level: LogLevel | None, limit: int, after_seq: int = -1
) -> FoundLines:
    """Returns up to `limit` log lines of a job, oldest first, and no line that begins beyond the bytes of an answer.

    The caller has checked (`show`) that the job is the tenant's.
    """
    # One line more than asked for shows if there are more.
    parameters: dict[str, object] = {"id": rows.job_uuid(job_id), "limit": limit + 1, "after": after_seq}
    statement = _LOG_LINES
    if level is not None:
        statement, parameters["level"] = _LOG_LINES_OF_LEVEL, level.value
    found = connection.exec_driver_sql(statement, parameters).all()
    lines = [rows.log_line(row[:4]) for row in found[:limit]]
    return FoundLines(lines=lines, has_more=bool(found) and len(lines) < found[0][4])
