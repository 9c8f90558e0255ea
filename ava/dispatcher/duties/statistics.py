"""Duties that count ended jobs (each once) with their error groups, write points of charts, and sum stored bytes."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from ava.domain import ids
from ava.domain.error_group import (
    UNGROUPED,
    ErrorGroup,
    ErrorGroupUpdate,
    ErrorStatus,
    FailedJob,
    comes_back,
    gather,
    kind_of,
    make_error_record,
    ungrouped_id,
)
from ava.domain.limits.table import ERROR_GROUPS, SERIES_ROWS
from ava.domain.notices.notice import NoticeEvent, Occurrence
from ava.domain.webhooks.webhook_events import Event, EventType, make_body
from ava.errors import DatabaseUnavailable
from ava.store.dead_letters import HalvedBatch
from ava.store.engine import clock
from ava.store.engine.database import Connection, Database
from ava.store.errors import counting
from ava.store.reports import ended, series, storage
from ava.store.reports.ended import Failed, Progress
from ava.store.webhooks import notice_windows, webhook_events

_log = logging.getLogger(__name__)

_JOBS_PER_TRANSACTION = 5_000
_CALL_SECONDS = 3.0
_PAGE_ROWS = 5_000
_PAGES_SECONDS = 0.25
#: Seconds between two passes over stored rows.
_PAUSE_SECONDS = 10.0
_TENANTS_PER_STATEMENT = 1_000
#: Seconds from the end of a minute to its round, because counts lag, and the minimum idle time per busy time.
_SECONDS_AFTER_MINUTE = 5.0
_IDLE_FACTOR = 5


class EndedJobs:
    """Counts ended jobs for charts, analytics, metrics and error groups.

    One transaction writes the counts, the groups, their events and the progress, so a crash neither repeats nor skips a
    job. A job that cannot be counted is counted without its group, or skipped, so that it stops no other.
    """

    def __init__(
        self, database: Database, *, max_groups: int = ERROR_GROUPS.value, max_jobs: int = _JOBS_PER_TRANSACTION
    ) -> None:
        """`max_groups`: per tenant. `max_jobs`: per transaction."""
        self._database = database
        self._max_groups = max_groups
        self._batch = HalvedBatch("Ended jobs", max_jobs)
        #: The progress before the last batch.
        self._before: Progress | None = None

    def run_once(self, _now: float) -> int:
        """Count the jobs that have ended. Returns the number of new and reopened groups."""
        give_up_at, goal, opened = time.monotonic() + _CALL_SECONDS, None, 0
        while time.monotonic() < give_up_at:
            done = self._batch.run(lambda: self._count(self._group), set_aside=self._set_aside, failed=None)
            if done is None:
                continue
            after, last_no, count = done
            opened += count
            goal = last_no if goal is None else goal
            if after.counted_to >= goal or after == self._before:
                break
        return opened

    def _count(self, store: Callable[[Connection, Progress, Progress], int]) -> tuple[Progress, int, int]:
        """Count a batch. Returns the progress after it, the last number of an ended job, and the result of `store`."""
        with self._database.transaction() as connection:
            before, last_no, now = ended.lock(connection)
            self._before = before
            after = before.advanced(ended.see(connection), last_no=last_no, now=now, limit=self._batch.size)
            return after, last_no, store(connection, before, after)

    def _group(self, connection: Connection, before: Progress, after: Progress) -> int:
        return _group_errors(connection, ended.count(connection, before, after), self._max_groups)

    def _set_aside(self, error: Exception) -> None:
        failed = self._before

        def count(connection: Connection, before: Progress, after: Progress) -> int:
            return len(ended.count(connection, before, after).jobs) if before == failed else 0

        def skip(connection: Connection, before: Progress, after: Progress) -> int:
            if before == failed:
                ended.skip(connection, after)
            return 0

        try:
            after, _, _ = self._count(count)
        except DatabaseUnavailable:
            raise
        except Exception:
            after, _, _ = self._count(skip)
        _log.error("The ended job number %d has no error group", after.counted_to, exc_info=error)


def _group_errors(connection: Connection, failed: Failed, max_groups: int) -> int:
    """Add failed jobs to their error groups in the counting transaction, and write an event for each new or reopened
    group.

    Returns the number of these groups.
    """
    jobs, unlabelled = failed.jobs, failed.unlabelled
    if not jobs:
        return 0
    tenants = {job.error_id: job.tenant_id for job in jobs}
    known = counting.known(connection, tenants)
    ungrouped = _beyond_limit(connection, [job for job in jobs if job.error_id not in known], max_groups)
    if ungrouped:
        others = {other: tenants[error_id] for error_id, other in ungrouped.items()}
        known = counting.known(connection, {error_id: tenants[error_id] for error_id in known} | others)
    labels = {(job.tenant_id, job.id): job.error_id for job in unlabelled}
    labels |= {(job.tenant_id, job.id): ungrouped[job.error_id] for job in jobs if job.error_id in ungrouped}
    counting.label(connection, labels)
    updates = gather(jobs, ungrouped)
    new = [update for update in updates if update.id not in known]
    returned = [update for update in updates if update.id in known and comes_back(update, *known[update.id])]
    counting.store(connection, updates, [update.id for update in returned])
    for kind, changed in ((EventType.ERROR_OPENED, new), (EventType.ERROR_REGRESSED, returned)):
        for update in changed:
            _notify(connection, kind, update)
    notice_windows.note(connection, [*_failures(jobs, ungrouped), *_about_groups(new, returned)])
    return len(new) + len(returned)


def _failures(jobs: Sequence[FailedJob], ungrouped: Mapping[str, str]) -> list[Occurrence]:
    """Return the failures for notices: one occurrence for equal ones, however many jobs failed."""
    counts: Counter[tuple[str, ...]] = Counter()
    last: dict[tuple[str, ...], FailedJob] = {}
    for job in jobs:
        error_id = ungrouped.get(job.error_id, job.error_id)
        same = (job.tenant_id, error_id, job.queue, *chain.from_iterable(sorted(job.tags.items())))
        counts[same] += 1
        last[same] = job
    found = []
    for same, count in counts.items():
        job = last[same]
        kind = UNGROUPED if job.error_id in ungrouped else kind_of(job.error)
        occurrence = _occurrence(NoticeEvent.JOB_FAILED, job, error_id=same[1], kind=kind, job_id=job.id)
        found.append(replace(occurrence, count=count, queue=job.queue, tags=job.tags))
    return found


def _about_groups(new: Sequence[ErrorGroupUpdate], returned: Sequence[ErrorGroupUpdate]) -> list[Occurrence]:
    return [
        _occurrence(event, update, error_id=update.id, kind=update.kind, job_id=update.sample_job_id)
        for event, changed in ((NoticeEvent.ERROR_OPENED, new), (NoticeEvent.ERROR_REGRESSED, returned))
        for update in changed
    ]


def _occurrence(
    event: NoticeEvent, of: FailedJob | ErrorGroupUpdate, *, error_id: str, kind: str, job_id: str
) -> Occurrence:
    group, job = ids.encode("err", error_id), ids.encode("job", job_id)
    return Occurrence(
        tenant_id=of.tenant_id,
        event=event,
        facts={"kind": kind, "worker_id": of.worker_id, "error_id": group, "job_id": job},
        subject=group,
    )


def _beyond_limit(connection: Connection, jobs: Sequence[FailedJob], max_groups: int) -> dict[str, str]:
    """Return the new groups that exceed their tenant's limit, each with its worker's catch-all group as replacement."""
    if not jobs:
        return {}
    free = counting.free_groups(connection, list({job.tenant_id for job in jobs}), max_groups)
    decided: dict[str, str] = {}
    seen: set[str] = set()
    for job in jobs:
        if job.error_id in seen:
            continue
        seen.add(job.error_id)
        if free[job.tenant_id] > 0:
            free[job.tenant_id] -= 1
        else:
            other = ungrouped_id(tenant_id=job.tenant_id, worker_id=job.worker_id)
            decided[job.error_id] = str(other)
    return decided


def _notify(connection: Connection, kind: EventType, update: ErrorGroupUpdate) -> None:
    event = Event.new(kind, tenant_id=update.tenant_id, created_at=clock.now(connection))
    group = ErrorGroup(
        id=ids.encode("err", update.id),
        worker_id=update.worker_id,
        kind=update.kind,
        message=update.variants[0],
        count=update.days.total(),
        first_seen_at=update.first_seen_at,
        last_seen_at=update.last_seen_at,
        status=ErrorStatus.OPEN,
        sample_job_id=ids.encode("job", update.sample_job_id),
    )
    webhook_events.insert(connection, event, make_body(event, make_error_record(group)))


class SeriesRounds:
    """Writes the points of charts a few seconds after each minute, when its ended jobs are counted."""

    def __init__(self, database: Database, *, max_running: int | None, node_dead_seconds: float) -> None:
        """`max_running`: the limit of tenants without their own."""
        self._database = database
        self._max_running = max_running
        self._node_dead_seconds = node_dead_seconds
        self._took_seconds = 0.0

    def pause_seconds(self) -> float:
        """Return the seconds until the next minute is counted; more after a slow round, so that most time is idle."""
        next_minute = _SECONDS_AFTER_MINUTE + 60 - time.time() % 60
        return max(next_minute, _IDLE_FACTOR * self._took_seconds)

    def run_once(self, _now: float) -> int:
        """Write the rows of one round. Returns their number."""
        began = time.monotonic()
        with self._database.connect() as connection:
            count = series.write(
                connection,
                max_running=self._max_running,
                dead_after_seconds=self._node_dead_seconds,
                max_rows=SERIES_ROWS.value,
            )
        self._took_seconds = time.monotonic() - began
        return count


class StoredBytes:
    """Passes over all jobs, log lines, events and deliveries to sum the stored bytes of each tenant, for its limit.

    A call reads some pages. The sums are written when a pass is complete. A dispatcher that takes over starts a new
    pass.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._next_pass = float("-inf")
        self._begin()

    def _begin(self) -> None:
        self._sums: Counter[str] = Counter()
        self._kinds = list(storage.KINDS)
        self._position: storage.Position | None = None

    def run_once(self, now: float) -> int:
        """Read pages for up to `_PAGES_SECONDS`. Returns the number of tenants if this completes a pass, otherwise
        0.
        """
        if now < self._next_pass:
            return 0
        ends = time.monotonic() + _PAGES_SECONDS
        while self._kinds:
            self._read_page()
            if time.monotonic() > ends:
                break
        if self._kinds:
            return 0
        with self._database.transaction() as connection:
            storage.save(connection, self._sums, batch=_TENANTS_PER_STATEMENT)
        count = len(self._sums)
        self._begin()
        self._next_pass = now + _PAUSE_SECONDS
        return count

    def _read_page(self) -> None:
        with self._database.connect() as connection:
            page = storage.read_page(connection, self._kinds[0], self._position, limit=_PAGE_ROWS)
        self._sums.update(page.sums)
        self._position = page.position
        if page.position is None:
            del self._kinds[0]
