"""Read the jobs that match a filter in batches, newest first, each batch bounded by rows and bytes."""

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

#: Maximum rounds in which a search counts jobs; each reads at most `SEARCHED_JOBS`.
_MAX_ROUNDS = 10
_ROUND = 20_000


@dataclass(frozen=True, kw_only=True)
class IdBatch:
    """Ids of some jobs that match a filter, newest first."""

    job_ids: Sequence[str]
    #: The id before which the next batch begins; None if this is the last batch.
    before_id: str | None


@dataclass(frozen=True, kw_only=True)
class JobBatch:
    """Some jobs that match a filter, newest first."""

    jobs: Sequence[Job]
    #: See `IdBatch`.
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
    """Return the newest jobs that are older than `before_id` and have one of the statuses `among`.

    A batch of a search may be empty without being the last.
    """
    until = None
    if job_filter.is_searched:
        found = searches.find(
            connection, tenant_id=tenant_id, job_filter=job_filter, limit=limit, before_id=before_id, among=among
        )
        job_ids, until = found.job_ids, found.scanned_until
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
    """Return these jobs as whole records, as many as fit into a response, but at least one."""
    found = next_ids(
        connection, tenant_id=tenant_id, job_filter=job_filter, limit=limit, before_id=before_id, among=among
    )
    shown = lists.show_many(connection, tenant_id=tenant_id, job_ids=found.job_ids)
    jobs = list(takewhile(lambda job: not job.is_light, shown))
    if len(jobs) == len(shown):
        return JobBatch(jobs=jobs, before_id=found.before_id)
    # The first job is missing only if retention deleted it in between.
    return JobBatch(jobs=jobs, before_id=jobs[-1].id if jobs else shown[0].id)


def count(
    connection: Connection, *, tenant_id: str, job_filter: JobFilter, among: Iterable[Status], max_jobs: int
) -> tuple[int, bool]:
    """Return how many jobs the batches find, and False if there may be more."""
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


def job_after(connection: Connection, *, tenant_id: str, job_filter: JobFilter, number: int) -> str | None:
    """Return the id of the job behind the newest `number` jobs that match, if any."""
    seen, before_id = 0, None
    for _ in range(_MAX_ROUNDS):
        left = number + 1 - seen
        found = next_ids(connection, tenant_id=tenant_id, job_filter=job_filter, limit=left, before_id=before_id)
        seen += len(found.job_ids)
        if seen > number:
            return found.job_ids[-1]
        if found.before_id is None:
            return None
        before_id = found.before_id
    # The job is beyond the search's limit; so is this id.
    return before_id
