"""Job filters as index ranges, shared by lists, exports and bulk operations."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from ava.domain import ids
from ava.domain.jobs.job import FINAL, Status, Trigger
from ava.domain.jobs.job_filter import JobFilter
from ava.store.jobs import rows

_FIRST_UUID = "00000000-0000-0000-0000-000000000000"
_LAST_UUID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

# A list consists of a few index ranges, one per status and trigger that the filter admits, each read only up to the end
# of the page. So every combination of filters walks along an index, newest first, independent of the table's size.
# The ranges are row comparisons in index order. With equalities the planner may walk the primary key over all jobs in
# search of a status that no job has.
# A filter by worker uses the other index, so each statement exists for both. The driver inserts the parameters into the
# statement, so an unused condition becomes `NULL IS NULL OR …`, which the planner removes.
BY_STATUS = {"j.tenant_id": "%(tenant_id)s", "j.status": "kind.status", "j.trigger": "kind.trigger"}
BY_WORKER = {"j.tenant_id": "%(tenant_id)s", "j.worker_id": "%(worker_id)s"} | BY_STATUS
_KINDS = """(
    SELECT status, trigger
    FROM unnest(%(statuses)s::text[]) AS status CROSS JOIN unnest(%(triggers)s::text[]) AS trigger
)"""


def ranges(index: dict[str, str], *, kinds: str = _KINDS, floor: str = "%(floor)s::uuid", limit: str) -> str:
    """Return the ranges of an index as a FROM item that yields `kind` and, newest first, `found.id`.

    `index` maps the index's columns before the id to the compared values. No id is below `floor`.
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


def filter_parameters(
    tenant_id: str, job_filter: JobFilter, before_id: str | None = None, *, among: Iterable[Status] = Status
) -> dict[str, object]:
    """Return the parameters of a filter; None for an unused condition.

    `among`: the statuses that the caller requests.
    """
    low, high = _bounds(job_filter)
    before_uuid = None if before_id is None else rows.job_uuid(before_id)
    # Only failed jobs have an error.
    statuses = [status for status in among if status is Status.FAILED or not (job_filter.error or job_filter.error_id)]
    if job_filter.waits_for is not None:
        statuses = [status for status in statuses if status is Status.QUEUED]
    if job_filter.completed_after is not None or job_filter.completed_before is not None:
        statuses = [status for status in statuses if status in FINAL]
    return {
        "tenant_id": tenant_id,
        "worker_id": job_filter.worker_id,
        "statuses": [status.value for status in statuses if job_filter.status in (None, status)],
        "triggers": [trigger.value for trigger in Trigger if job_filter.trigger in (None, trigger)],
        "after_id": low,
        "before_floor": high,
        "before_id": before_uuid,
        "floor": low or _FIRST_UUID,
        "ceiling": min(high or _LAST_UUID, before_uuid or _LAST_UUID),
    }


def _bounds(job_filter: JobFilter) -> tuple[str | None, str | None]:
    """Return the smallest id that a filter admits, and the first id above the range; None without such a bound."""
    # A job's `created_at` is the time in its id (`make.insert`), so bounds of the id are exact.
    after, before, part = job_filter.created_after, job_filter.created_before, job_filter.id_part
    lows = [] if after is None else [ids.first_uuid(after)]
    highs = [] if before is None else [ids.first_uuid(before)]
    if job_filter.completed_before is not None:
        # A job is created before it ends.
        highs.append(ids.first_uuid(job_filter.completed_before))
    if part is not None and part.is_first:
        lows.append(part.low)
        highs.append(UUID(int=min(part.high.int + 1, 2**128 - 1)))
    return str(max(lows)) if lows else None, str(min(highs)) if highs else None
