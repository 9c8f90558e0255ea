"""What clients read of jobs: every statement here is scoped to a tenant, and this is the one place that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ava.domain import ids
from ava.domain.job import Job, LogLevel, LogLine, Status, Trigger
from ava.domain.paging import MOST_IN_TOTAL
from ava.store.engine.database import Connection
from ava.store.jobs import rows

__all__ = [
    "JobFilter",
    "count",
    "filter_conditions",
    "log_lines",
    "page",
    "show",
    "show_many",
]


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which of a tenant's jobs; None means any."""

    worker_id: str | None = None
    status: Status | None = None
    trigger: Trigger | None = None
    #: Both bounds are inclusive below and exclusive above, and have a time zone.
    created_after: datetime | None = None
    created_before: datetime | None = None


_SHOW_MANY = (
    f"SELECT {rows.JOB_COLUMNS} FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS asked (id, n)"
    " JOIN jobs AS j ON j.id = asked.id WHERE j.tenant_id = %(tenant_id)s ORDER BY asked.n"
)


def show_many(connection: Connection, *, tenant_id: str, job_ids: Sequence[str]) -> list[Job]:
    """Jobs of a tenant, in the order of the ids; those that are gone are left out."""
    parameters = {"ids": [rows.job_uuid(job_id) for job_id in job_ids], "tenant_id": tenant_id}
    return [rows.job(row) for row in connection.exec_driver_sql(_SHOW_MANY, parameters)]


_SHOW = f"SELECT {rows.JOB_COLUMNS} FROM jobs AS j WHERE j.id = %(id)s::uuid AND j.tenant_id = %(tenant_id)s"


def show(connection: Connection, *, tenant_id: str, job_id: str) -> Job | None:
    """One job of a tenant; None where there is none such."""
    if (uuid := rows.job_uuid(job_id)) is None:
        return None
    row = connection.exec_driver_sql(_SHOW, {"id": uuid, "tenant_id": tenant_id}).first()
    return None if row is None else rows.job(row)


# A list is a handful of index ranges, one for each status and trigger that the filter lets through, each read only as
# far as the page goes. So any combination of filters is a walk along an index, newest first, whatever the table holds.
# The ranges are written as rows, in the index's own order: given equalities, the planner may think the primary key as
# good, and walk it over all jobs there are in search of a state that has none.
_KINDS = """(
    SELECT s AS status, t AS trigger FROM unnest(%(statuses)s::text[]) AS s CROSS JOIN unnest(%(triggers)s::text[]) AS t
)"""
_RANGES = """
    {kinds} AS kind CROSS JOIN LATERAL (
        SELECT j.id FROM jobs AS j
        WHERE ({place}, j.id) >= ({key}, {floor}) AND ({place}, j.id) < ({key}, %(ceiling)s::uuid) AND {filters}
        ORDER BY {order}, j.id DESC LIMIT {limit}
    ) AS found
"""
_FLOOR = "%(floor)s::uuid"
_PLACE = {"j.tenant_id": "%(tenant_id)s", "j.status": "kind.status", "j.trigger": "kind.trigger"}
_PLACE_OF_WORKER = {"j.tenant_id": "%(tenant_id)s", "j.worker_id": "%(worker_id)s"} | _PLACE
# What a deep page reads has to follow from how deep it lies, and not from how much each range holds that is older. So
# one range, which seems the densest of them, is read that deep first: of no other can anything older be on the page.
_DEEP = 200
_DENSEST = "(SELECT kind.status, kind.trigger FROM {ranges} ORDER BY found.id DESC LIMIT 1)"
_FLOOR_OF_DEEP = "greatest(%(floor)s::uuid, (SELECT found.id FROM {ranges}))"


def _ranges(
    parameters: dict[str, object], filters: str, *, kinds: str = _KINDS, floor: str = _FLOOR, limit: str = "%(limit)s"
) -> str:
    """The ranges of a filter; their bounds are added to its parameters."""
    place = _PLACE_OF_WORKER if "worker_id" in parameters else _PLACE
    ceilings = [str(parameters[name]) for name in ("before_floor", "before_id") if name in parameters]
    parameters["floor"] = parameters.get("after_id", "00000000-0000-0000-0000-000000000000")
    parameters["ceiling"] = min([*ceilings, "ffffffff-ffff-ffff-ffff-ffffffffffff"])
    return _RANGES.format(
        kinds=kinds,
        place=", ".join(place),
        key=", ".join(place.values()),
        floor=floor,
        order=", ".join(f"{column} DESC" for column in place),
        filters=filters,
        limit=limit,
    )


def _floor_of_deep(parameters: dict[str, object], filters: str) -> str:
    """The id that no job of a deep page is below, as SQL."""
    each = "1 OFFSET %(limit)s / (cardinality(%(statuses)s::text[]) * cardinality(%(triggers)s::text[]))"
    densest = _DENSEST.format(ranges=_ranges(parameters, filters, limit=each))
    return _FLOOR_OF_DEEP.format(ranges=_ranges(parameters, filters, kinds=densest, limit="1 OFFSET %(limit)s - 1"))


def page(
    connection: Connection,
    *,
    tenant_id: str,
    job_filter: JobFilter,
    limit: int,
    before_id: str | None = None,
    offset: int = 0,
) -> list[Job]:
    """Jobs of a tenant, newest first: at most `limit`, older than `before_id` (a job's id), after `offset` of them."""
    parameters, filters = filter_conditions(tenant_id, job_filter, before_id)
    parameters |= {"limit": limit + offset, "offset": offset, "page": limit}
    floor = _floor_of_deep(parameters, filters) if limit + offset >= _DEEP else _FLOOR
    ranges = _ranges(parameters, filters, floor=floor)
    # The ranges give ids alone; only the page itself is read from the table in full.
    statement = (
        f"SELECT {rows.JOB_COLUMNS} FROM (SELECT found.id FROM {ranges} ORDER BY found.id DESC "
        "LIMIT %(page)s OFFSET %(offset)s) AS p JOIN jobs AS j ON j.id = p.id ORDER BY j.id DESC"
    )
    return [rows.job(row) for row in connection.exec_driver_sql(statement, parameters)]


def count(connection: Connection, *, tenant_id: str, job_filter: JobFilter) -> int:
    """How many jobs a filter finds, exact up to `MOST_IN_TOTAL`."""
    parameters, filters = filter_conditions(tenant_id, job_filter)
    parameters |= {"limit": MOST_IN_TOTAL}
    ranges = _ranges(parameters, filters)
    statement = f"SELECT count(*) FROM (SELECT 1 FROM {ranges} LIMIT %(limit)s) AS counted"
    return int(connection.exec_driver_sql(statement, parameters).scalar_one())


def filter_conditions(
    tenant_id: str, job_filter: JobFilter, before_id: str | None = None
) -> tuple[dict[str, object], str]:
    """The parameters of a filter, and its conditions beside those on status and trigger."""
    parameters: dict[str, object] = {
        "tenant_id": tenant_id,
        "statuses": [status.value for status in Status if job_filter.status in (None, status)],
        "triggers": [trigger.value for trigger in Trigger if job_filter.trigger in (None, trigger)],
    }
    conditions = ["true"]
    if job_filter.worker_id is not None:
        conditions.append("j.worker_id = %(worker_id)s")
        parameters["worker_id"] = job_filter.worker_id
    # A job's `created_at` is the time in its id (`client_moves.insert`), so bounds on the id are exact.
    if job_filter.created_after is not None:
        conditions.append("j.id >= %(after_id)s::uuid")
        parameters["after_id"] = str(ids.first_uuid(job_filter.created_after))
    if job_filter.created_before is not None:
        conditions.append("j.id < %(before_floor)s::uuid")
        parameters["before_floor"] = str(ids.first_uuid(job_filter.created_before))
    if before_id is not None:
        conditions.append("j.id < %(before_id)s::uuid")
        parameters["before_id"] = rows.job_uuid(before_id)
    return parameters, " AND ".join(conditions)


# The level is a constant of the statement: the planner must see that what is looked for is in `job_logs_not_info`.
_LOGS = """
SELECT seq, ts, level, msg FROM job_logs
WHERE job_id = %(id)s::uuid AND seq > %(after)s {level}
ORDER BY {order} LIMIT %(limit)s
"""


def log_lines(
    connection: Connection, *, job_id: str, level: LogLevel | None, limit: int, after_seq: int = -1
) -> Sequence[LogLine]:
    """Log lines of a job, oldest first. The caller has made sure (`show`) that the job is the tenant's."""
    parameters = {"id": rows.job_uuid(job_id), "limit": limit, "after": after_seq}
    if level is None:
        statement = _LOGS.format(level="", order="seq")
    else:
        # Ordered by all that the index is, though two of it are constants; else the planner may prefer the primary key.
        statement = _LOGS.format(level=f"AND level = '{level.value}'", order="job_id, level, seq")
    return [rows.log_line(row) for row in connection.exec_driver_sql(statement, parameters)]
