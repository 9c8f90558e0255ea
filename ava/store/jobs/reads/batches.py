"""The jobs that a filter finds, batch by batch from the newest to the oldest, each batch bounded by rows and bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from ava.domain import ids
from ava.domain.jobs.job import Job, Status
from ava.domain.jobs.job_filter import JobFilter
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs.reads import lists, searches
from ava.store.jobs.reads.filters import BY_STATUS, BY_WORKER, filter_parameters, ranges

#: Rounds of a search that count its jobs; each looks at `SEARCHED_JOBS` of them at most.
_MAX_ROUNDS = 10
#: The jobs that one round of a search counts.
_ROUND = 20_000


@dataclass(frozen=True, kw_only=True)
class IdBatch:
    """The ids of some of the jobs that a filter finds, newest first."""

    job_ids: Sequence[str]
    #: The id before which the next batch begins; None if this is the last one.
    before_id: str | None


@dataclass(frozen=True, kw_only=True)
class JobBatch:
    """Some of the jobs that a filter finds, newest first."""

    jobs: Sequence[Job]
    #: The id before which the next batch begins; None if this is the last one.
    before_id: str | None


def _ids(index: dict[str, str]) -> Statement:
    return Statement(f"""
SELECT found.id::text FROM {ranges(index, limit="%(limit)s")}
ORDER BY found.id DESC LIMIT %(limit)s
""")


_IDS = _ids(BY_STATUS)
_IDS_OF_WORKER = _ids(BY_WORKER)


def next_ids(
    connection: Connection,
    *,
    tenant_id: str,
    job_filter: JobFilter,
    limit: int,
    before_id: str | None,
    among: Iterable[Status] = Status,
) -> IdBatch:
    """Returns the newest jobs that are older than `before_id` and have one of the statuses `among`.

    A search may find none in a batch that is not the last.
    """
    until = None
    if job_filter.is_searched:
        found = searches.find(
            connection, tenant_id=tenant_id, job_filter=job_filter, limit=limit, before_id=before_id, among=among
        )
        job_ids, until = found.job_ids, found.looked_at_until
    else:
        parameters = filter_parameters(tenant_id, job_filter, before_id, among=among) | {"limit": limit}
        statement = _IDS if job_filter.worker_id is None else _IDS_OF_WORKER
        job_ids = [ids.encode("job", uuid) for uuid in connection.exec_driver_sql(statement, parameters).scalars()]
    return IdBatch(job_ids=job_ids, before_id=job_ids[-1] if len(job_ids) == limit else until)


def next_jobs(
    connection: Connection,
    *,
    tenant_id: str,
    job_filter: JobFilter,
    limit: int,
    before_id: str | None,
    among: Iterable[Status] = Status,
) -> JobBatch:
    """Returns these jobs as whole records, as many as an answer has bytes for, but at least one."""
    found = next_ids(
        connection, tenant_id=tenant_id, job_filter=job_filter, limit=limit, before_id=before_id, among=among
    )
    shown = lists.show_many(connection, tenant_id=tenant_id, job_ids=found.job_ids)
    jobs = list(takewhile(lambda job: not job.is_light, shown))
    if len(jobs) == len(shown):
        return JobBatch(jobs=jobs, before_id=found.before_id)
    # The first of them is left out only if retention has deleted it meanwhile.
    return JobBatch(jobs=jobs, before_id=jobs[-1].id if jobs else shown[0].id)


def count(
    connection: Connection, *, tenant_id: str, job_filter: JobFilter, among: Iterable[Status], max_jobs: int
) -> tuple[int, bool]:
    """Returns how many jobs the batches find, and False if there may be more than that."""
    if not job_filter.is_searched:
        total = lists.count(connection, tenant_id=tenant_id, job_filter=job_filter, max_jobs=max_jobs, among=among)
        return total, total < max_jobs
    total, before_id = 0, None
    for _ in range(_MAX_ROUNDS):
        found = next_ids(
            connection, tenant_id=tenant_id, job_filter=job_filter, limit=_ROUND, before_id=before_id, among=among
        )
        total, before_id = total + len(found.job_ids), found.before_id
        if before_id is None:
            return total, True
    return total, False


def job_after(connection: Connection, *, tenant_id: str, job_filter: JobFilter, place: int) -> str | None:
    """Returns the id of the job that follows the newest `place` jobs which a search finds; None if there is none."""
    seen, before_id = 0, None
    for _ in range(_MAX_ROUNDS):
        left = place + 1 - seen
        found = next_ids(connection, tenant_id=tenant_id, job_filter=job_filter, limit=left, before_id=before_id)
        seen += len(found.job_ids)
        if seen > place:
            return found.job_ids[-1]
        if found.before_id is None:
            return None
        before_id = found.before_id
    # What lies deeper than the search goes is beyond as well.
    return before_id
