"""What clients read of jobs. Every statement here is scoped to a tenant, and this is the only module that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ava.domain import ids
from ava.domain.job import Job, LogLevel, Status, Trigger
from ava.domain.limits import ANSWER_BYTES
from ava.domain.paging import MOST_IN_TOTAL
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.rows import FoundLines

__all__ = ["JobFilter", "JobPage", "count", "filter_parameters", "log_lines", "page", "show", "show_many"]


_LAST_UUID = "ffffffff-ffff-ffff-ffff-ffffffffffff"


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which of a tenant's jobs; None means any."""

    worker_id: str | None = None
    status: Status | None = None
    trigger: Trigger | None = None
    #: With a time zone. `created_after` is inclusive, `created_before` exclusive.
    created_after: datetime | None = None
    created_before: datetime | None = None


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


# A list is a few index ranges, one for each status and trigger that the filter admits, each read only as far as the
# page goes. So any combination of filters walks along an index, newest first, independent of the size of the table.
#
# The ranges are row comparisons in the index's own order. With equalities the planner may prefer the primary key, and
# walk it over all jobs in search of a status that has none.
#
# A filter on a worker uses the other index, so each statement exists for both. The driver writes the parameters into
# the statement, so a condition that the filter does not have becomes `NULL IS NULL OR …`, which the planner removes.
_BY_STATUS = {"j.tenant_id": "%(tenant_id)s", "j.status": "kind.status", "j.trigger": "kind.trigger"}
_BY_WORKER = {"j.tenant_id": "%(tenant_id)s", "j.worker_id": "%(worker_id)s"} | _BY_STATUS
_KINDS = """(
    SELECT status, trigger
    FROM unnest(%(statuses)s::text[]) AS status CROSS JOIN unnest(%(triggers)s::text[]) AS trigger
)"""


def _ranges(index: dict[str, str], *, kinds: str = _KINDS, floor: str = "%(floor)s::uuid", limit: str) -> str:
    """Returns the ranges of an index as a FROM item that gives `kind` and, newest first, `found.id`.

    `index` has the index's columns before the id and what each is compared with. No id is below `floor`.
    """
    columns, keys = ", ".join(index), ", ".join(index.values())
    order = ", ".join(f"{column} DESC" for column in index)
    return f"""{kinds} AS kind CROSS JOIN LATERAL (
    SELECT j.id FROM jobs AS j
    WHERE ({columns}, j.id) >= ({keys}, {floor}) AND ({columns}, j.id) < ({keys}, %(ceiling)s::uuid)
        AND (%(worker_id)s::text IS NULL OR j.worker_id = %(worker_id)s)
        AND (%(after_id)s::uuid IS NULL OR j.id >= %(after_id)s::uuid)
        AND (%(before_floor)s::uuid IS NULL OR j.id < %(before_floor)s::uuid)
        AND (%(before_id)s::uuid IS NULL OR j.id < %(before_id)s::uuid)
    ORDER BY {order}, j.id DESC LIMIT {limit}
) AS found"""


def _page(ranges: str) -> Statement:
    # The ranges give ids alone; only the page itself is read from the table in full.
    return Statement(f"""
SELECT {rows.LIGHT_COLUMNS} FROM (
SELECT found.id FROM {ranges}
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
SELECT kind.status, kind.trigger FROM {_ranges(index, limit=share)}
ORDER BY found.id DESC LIMIT 1
)"""
    deepest = _ranges(index, kinds=densest, limit="1 OFFSET %(limit)s - 1")
    return f"greatest(%(floor)s::uuid, (\nSELECT found.id FROM {deepest}\n))"


def _deep_page(index: dict[str, str]) -> Statement:
    return _page(_ranges(index, floor=_floor_of_deep_page(index), limit="%(limit)s"))


def _count(index: dict[str, str]) -> Statement:
    return Statement(f"""
SELECT count(*) FROM (
SELECT 1 FROM {_ranges(index, limit="%(limit)s")}
LIMIT %(limit)s
) AS counted
""")


_PAGE = _page(_ranges(_BY_STATUS, limit="%(limit)s"))
_PAGE_OF_WORKER = _page(_ranges(_BY_WORKER, limit="%(limit)s"))
_DEEP_PAGE = _deep_page(_BY_STATUS)
_DEEP_PAGE_OF_WORKER = _deep_page(_BY_WORKER)
_COUNT = _count(_BY_STATUS)
_COUNT_OF_WORKER = _count(_BY_WORKER)
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


def filter_parameters(tenant_id: str, job_filter: JobFilter, before_id: str | None = None) -> dict[str, object]:
    """Returns the parameters of a filter; None for a condition that it does not have."""
    # A job's `created_at` is the time in its id (`client_moves.insert`), so bounds on the id are exact.
    after, before = job_filter.created_after, job_filter.created_before
    after_id = None if after is None else str(ids.first_uuid(after))
    before_floor = None if before is None else str(ids.first_uuid(before))
    before_uuid = None if before_id is None else rows.job_uuid(before_id)
    return {
        "tenant_id": tenant_id,
        "worker_id": job_filter.worker_id,
        "statuses": [status.value for status in Status if job_filter.status in (None, status)],
        "triggers": [trigger.value for trigger in Trigger if job_filter.trigger in (None, trigger)],
        "after_id": after_id,
        "before_floor": before_floor,
        "before_id": before_uuid,
        "floor": after_id or "00000000-0000-0000-0000-000000000000",
        "ceiling": min(before_floor or _LAST_UUID, before_uuid or _LAST_UUID),
    }


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
