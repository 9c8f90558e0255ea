"""Reads of jobs and lists of jobs for clients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ava.domain.counts import MAX_IN_TOTAL
from ava.domain.jobs.job import Job, JobKey, Status
from ava.domain.jobs.job_filter import JobFilter, JobSort
from ava.domain.jobs.run_log import EndedJobRun
from ava.domain.jobs.run_outcome import Ending
from ava.domain.jobs.usage import RunUsage
from ava.domain.limits.table import PAYLOAD_BYTES, RESPONSE_BYTES
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.reads import searches
from ava.store.jobs.reads.filters import BY_STATUS, BY_WORKER, filter_parameters, ranges


@dataclass(frozen=True, kw_only=True)
class Payloads:
    #: True: include large ones, and let the page end early. False: include up to `PAYLOAD_BYTES`.
    are_whole: bool = False
    has_input: bool = True
    has_output: bool = True


@dataclass(frozen=True, kw_only=True)
class JobPage:
    jobs: Sequence[Job]
    #: Whether more jobs follow, because more match or because the page is full.
    has_more: bool
    #: For a search: the number of matching jobs among the first that it reads, exact up to `MAX_IN_TOTAL`. Otherwise
    #: None; `count` counts the jobs.
    total: int | None = None
    #: The id of the last job that a search read, if it ended before the page was full.
    scanned_until: str | None = None
    #: False for a sorted page, where no job marks the start of the next page.
    has_cursor: bool = True


_SHOW_MANY = Statement(f"""
SELECT {rows.LIGHT_COLUMNS} FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS asked (id, n)
JOIN jobs AS j ON j.tenant_id = %(tenant_id)s AND j.id = asked.id {rows.SIZES} ORDER BY asked.n
""")


def show_many(connection: Connection, *, tenant_id: str, job_ids: Sequence[str]) -> list[Job]:
    """Return jobs of a tenant in the order of the ids, without missing ones.

    Omits large inputs and outputs beyond the size limit of a response.
    """
    light = _show_light(connection, tenant_id, job_ids, Payloads(are_whole=True))
    full = _read_large(connection, light)
    return [*full, *light[len(full) :]]


def _show_light(connection: Connection, tenant_id: str, job_ids: Sequence[str], payloads: Payloads) -> list[Job]:
    parameters: dict[str, object] = {"ids": [rows.job_uuid(job_id) for job_id in job_ids], "tenant_id": tenant_id}
    parameters |= _large_bytes(payloads, len(job_ids))
    return [rows.light_job(row) for row in connection.exec_driver_sql(_SHOW_MANY, parameters)]


def _large_bytes(payloads: Payloads, jobs: int) -> dict[str, object]:
    """Return the sizes above which inputs and outputs are omitted from the first read of this many jobs."""
    # With whole payloads: sizes that certainly fit into a response.
    large = RESPONSE_BYTES.value // max(1, 2 * jobs) if payloads.are_whole else PAYLOAD_BYTES.value
    return {"large_input": large if payloads.has_input else -1, "large_output": large if payloads.has_output else -1}


def _read_large(connection: Connection, light: Sequence[Job]) -> list[Job]:
    """Return the first of these jobs with their large inputs and outputs, as many as fit into a response.

    Reads them individually, because a single one may fill most of a response.
    """
    full: list[Job] = []
    used = 0
    for job in light:
        used += job.input_bytes or len(job.input_json)
        used += job.output_bytes or len(job.output_json or "")
        if full and used > RESPONSE_BYTES.value:
            break
        found = show(connection, tenant_id=job.tenant_id, job_id=job.id) if job.is_light else job
        # Retention may have deleted the job in between.
        full.append(found or job)
    return full


_SHOW = Statement(f"""
SELECT {rows.JOB_COLUMNS} FROM jobs AS j WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid
""")


def show(connection: Connection, *, tenant_id: str, job_id: str) -> Job | None:
    if (uuid := rows.job_uuid(job_id)) is None:
        return None
    row = connection.exec_driver_sql(_SHOW, {"id": uuid, "tenant_id": tenant_id}).first()
    return None if row is None else rows.job(row)


_STATUS = Statement("""
SELECT j.status FROM jobs AS j WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid
""")


def status(connection: Connection, *, tenant_id: str, job_id: str) -> Status | None:
    if (uuid := rows.job_uuid(job_id)) is None:
        return None
    found = connection.exec_driver_sql(_STATUS, {"id": uuid, "tenant_id": tenant_id}).scalar()
    return None if found is None else Status(found)


def _page(found: str) -> Statement:
    # The ranges yield only ids; full rows are read only for the page.
    return Statement(f"""
SELECT {rows.LIGHT_COLUMNS} FROM (
SELECT found.id FROM {found}
ORDER BY found.id DESC LIMIT %(page)s OFFSET %(offset)s
) AS p JOIN jobs AS j ON j.tenant_id = %(tenant_id)s AND j.id = p.id {rows.SIZES} ORDER BY j.id DESC
""")


def _floor_of_deep_page(index: dict[str, str]) -> str:
    """Return an SQL expression for a lower bound of the ids of a deep page.

    The cost of a deep page must depend on its depth, not on the number of older jobs in each range. So first read the
    apparently densest range to the page's depth: the page has no older job from any other range.
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
#: A page is deep if it ends at this row of the list or behind it.
_DEEP = 200


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    tenant_id: str
    job_filter: JobFilter
    limit: int
    before_id: str | None
    offset: int
    payloads: Payloads


def page(
    connection: Connection,
    *,
    tenant_id: str,
    job_filter: JobFilter,
    limit: int,
    before_id: str | None = None,
    offset: int = 0,
    payloads: Payloads = Payloads(),
    sort: JobSort | None = None,
) -> JobPage:
    """Return jobs of a tenant, newest first: at most `limit`, older than the job `before_id`, after `offset` jobs.

    The page ends early at the size limit of a response or at the maximum of jobs that a search reads. `sort`: a sorted
    page of the newest jobs that a search reads; `before_id` must then be None.
    """
    wanted = _Wanted(
        tenant_id=tenant_id, job_filter=job_filter, limit=limit, before_id=before_id, offset=offset, payloads=payloads
    )
    if sort is not None:
        return _sorted_page(connection, wanted, sort)
    return (_searched_page if job_filter.is_searched else _indexed_page)(connection, wanted)


def _indexed_page(connection: Connection, wanted: _Wanted) -> JobPage:
    limit, offset, of_worker = wanted.limit, wanted.offset, wanted.job_filter.worker_id is not None
    parameters = filter_parameters(wanted.tenant_id, wanted.job_filter, wanted.before_id)
    # One extra job shows whether there are more.
    parameters |= {"limit": limit + 1 + offset, "offset": offset, "page": limit + 1}
    parameters |= _large_bytes(wanted.payloads, limit)
    if limit + offset >= _DEEP:
        statement = _DEEP_PAGE_OF_WORKER if of_worker else _DEEP_PAGE
    else:
        statement = _PAGE_OF_WORKER if of_worker else _PAGE
    found = [rows.light_job(row) for row in connection.exec_driver_sql(statement, parameters)]
    jobs = _read_large(connection, found[:limit]) if wanted.payloads.are_whole else found[:limit]
    return JobPage(jobs=jobs, has_more=len(jobs) < len(found))


def _searched_page(connection: Connection, wanted: _Wanted) -> JobPage:
    tenant_id, job_filter, limit = wanted.tenant_id, wanted.job_filter, wanted.limit
    # The total counts from the newest job, even for a later page.
    first = searches.find(connection, tenant_id=tenant_id, job_filter=job_filter, limit=MAX_IN_TOTAL + limit + 1)
    found = first
    if wanted.before_id is not None:
        found = searches.find(
            connection, tenant_id=tenant_id, job_filter=job_filter, limit=limit + 1, before_id=wanted.before_id
        )
    end = wanted.offset + limit
    light = _show_light(connection, tenant_id, found.job_ids[wanted.offset : end], wanted.payloads)
    jobs = _read_large(connection, light) if wanted.payloads.are_whole else light
    is_full = len(found.job_ids) > end or len(jobs) < len(light)
    return JobPage(
        jobs=jobs,
        has_more=is_full or found.scanned_until is not None,
        total=min(len(first.job_ids), MAX_IN_TOTAL),
        scanned_until=None if is_full else found.scanned_until,
    )


def _sorted_page(connection: Connection, wanted: _Wanted, sort: JobSort) -> JobPage:
    tenant_id, offset, limit = wanted.tenant_id, wanted.offset, wanted.limit
    found = searches.find_sorted(
        connection, tenant_id=tenant_id, job_filter=wanted.job_filter, sort=sort, limit=limit, offset=offset
    )
    light = _show_light(connection, tenant_id, found.job_ids, wanted.payloads)
    jobs = _read_large(connection, light) if wanted.payloads.are_whole else light
    total = min(found.matching, MAX_IN_TOTAL)
    return JobPage(jobs=jobs, has_more=offset + len(jobs) < total, total=total, has_cursor=False)


def count(
    connection: Connection,
    *,
    tenant_id: str,
    job_filter: JobFilter,
    max_jobs: int = MAX_IN_TOTAL,
    among: Iterable[Status] = Status,
) -> int:
    """Return the number of jobs that match a filter and have a status in `among`, exact up to `max_jobs`."""
    parameters = filter_parameters(tenant_id, job_filter, among=among) | {"limit": max_jobs}
    statement = _COUNT if job_filter.worker_id is None else _COUNT_OF_WORKER
    return int(connection.exec_driver_sql(statement, parameters).scalar_one())


_OF_JOB = f"FROM job_runs WHERE tenant_id = %(tenant_id)s AND job_id = %(id)s::uuid AND outcome <> '{Ending.RELEASED}'"
_RUN_ROWS = RecordRows(EndedJobRun, "job_runs", columns={"ending": "job_runs.outcome"}, without=("usage",))
_RETAINED_RUNS = Statement(f"""
SELECT {_RUN_ROWS.columns}, cpu_us, peak_memory_mb
{_OF_JOB} AND run_no > %(after)s ORDER BY run_no LIMIT %(limit)s OFFSET %(offset)s
""")


def retained_runs(connection: Connection, *, job: JobKey, after: int, limit: int, offset: int) -> list[EndedJobRun]:
    """Return runs of a job that have rows in `job_runs`, without runs that never entered the handler."""
    given = rows.job_parameters(job) | {"after": after, "limit": limit, "offset": offset}
    return [
        _RUN_ROWS.read(row, usage=RunUsage(cpu_us=row[-2], peak_memory_mb=row[-1]))
        for row in connection.exec_driver_sql(_RETAINED_RUNS, given)
    ]


_COUNT_RUNS = Statement(f"""
SELECT (SELECT count(*) FROM (SELECT {_OF_JOB} LIMIT {MAX_IN_TOTAL}) AS counted),
    (SELECT run_no {_OF_JOB} ORDER BY run_no DESC LIMIT 1)
""")


def count_runs(connection: Connection, *, job: JobKey) -> tuple[int, int | None]:
    """Return the number of these runs, counted up to `MAX_IN_TOTAL`, and the number of the last one."""
    number, last_no = connection.exec_driver_sql(_COUNT_RUNS, rows.job_parameters(job)).one()
    return number, last_no
