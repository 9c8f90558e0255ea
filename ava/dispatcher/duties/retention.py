"""Duties: delete what is past retention, in statements so short that they disturb no other, and roll partitions."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from math import ceil

from ava.errors import DatabaseUnavailable
from ava.store import partitions
from ava.store.access import sessions
from ava.store.engine.database import Connection, Database
from ava.store.errors import counting
from ava.store.events import old_rows, subscriptions
from ava.store.fleet import nodes
from ava.store.jobs import bulk_operations, idempotency, old_jobs
from ava.store.jobs.moves import debounce, pull
from ava.store.jobs.old_jobs import FIRST_POSITION, Position
from ava.store.reports import analytics, audit, job_times, statistics
from ava.store.schedules import firings
from ava.store.webhooks import events

#: Seconds for which one call of a duty goes on while there are old rows.
_CALL_SECONDS = 3.0
#: Seconds until the next call, and if this one has found nothing.
_BUSY_SECONDS = 1.0
_IDLE_SECONDS = 10.0
#: A batch that took fewer seconds is doubled, one that took more, or failed, is halved.
_SHORT_SECONDS = 0.2
_LONG_SECONDS = 1.0
#: Rows of the first batch, of the smallest and of the largest.
_FIRST_BATCH = 500
_SMALLEST_BATCH = 10
_LARGEST_BATCH = 20_000
#: Seconds for which the row of an ended node is kept.
_ENDED_NODE_SECONDS = 3600.0
#: Seconds for which counted minutes are kept.
_MINUTES_SECONDS = 24 * 3600.0
#: Seconds from the end of a pass over old jobs to the next, where jobs are kept for different times: a pass looks at
#: each job that is past the shortest of them.
_PASS_PAUSE_SECONDS = 600.0
#: Days for which there are partitions ahead. Without one, rows are in the partition for the rest, and nothing is lost.
#: Most statements on log lines name a job, so further ones cost nothing; those on other tables look at each of them.
_LOG_DAYS_AHEAD, _DAYS_AHEAD = 7, 3
#: About so many partitions are kept; if rows are kept for more days, a partition has several.
_MAX_PARTITIONS = {
    partitions.LOGS: 60,
    "audit": 30,
    "webhook_events": 15,
    "webhook_deliveries": 15,
    "events": 15,
    "hook_deliveries": 15,
}
#: A partition that old jobs hold is dropped if they have fewer lines, which are copied under a lock.
_MAX_MOVED_LINES = 5_000


class OldRows:
    """One kind of old rows. Its batch adapts to the time that a deletion takes."""

    def __init__(self, delete: Callable[[Connection, int], int], *, ends: Callable[[], bool] | None = None) -> None:
        """`delete` deletes about so many rows, the oldest first. It returns that number or more if there are others.

        `ends`, if it is given, returns True after a batch if there are no others.
        """
        self.batch = _FIRST_BATCH
        self.has_more = True
        self._delete = delete
        self._ends = ends

    def delete_batch(self, database: Database) -> int:
        """Delete one batch. Returns the number of rows. Raises `DatabaseUnavailable`, also if it took too long."""
        size, began = self.batch, time.monotonic()
        self.batch = max(size // 2, _SMALLEST_BATCH)
        with database.connect() as connection:
            count = self._delete(connection, size)
        took = time.monotonic() - began
        if took <= _LONG_SECONDS:
            self.batch = min(size * 2, _LARGEST_BATCH) if took < _SHORT_SECONDS else size
        self.has_more = count >= size if self._ends is None else not self._ends()
        return count


class OldJobs:
    """Looks at the jobs past the shortest retention, the oldest first, and deletes those past their own.

    If all have the same retention, each job that it looks at is deleted.
    """

    def __init__(self, *, retention_days: float) -> None:
        """`retention_days`: of the jobs whose worker and tenant have none of their own."""
        self.is_at_end = True
        self._retention_days = retention_days
        self._position: Position = FIRST_POSITION
        self._next_pass = float("-inf")

    def delete(self, connection: Connection, limit: int) -> int:
        """Delete at most `limit` log lines, and at most `limit` jobs without lines. Returns the number of both."""
        self.is_at_end = True
        if time.monotonic() < self._next_pass:
            return 0
        kept = old_jobs.days_kept(connection, default=self._retention_days)
        looked = old_jobs.look(connection, kept, after=self._position, limit=limit)
        lines = old_jobs.delete_lines(connection, looked, limit=limit)
        count = lines + old_jobs.delete(connection, looked)
        if lines >= limit:
            # Some of the jobs may have more lines, so the next batch looks at them again.
            self.is_at_end = False
        elif looked.count >= limit:
            self.is_at_end = False
            self._position = looked.position
        else:
            self._position = FIRST_POSITION
            if kept.shortest < kept.longest:
                self._next_pass = time.monotonic() + _PASS_PAUSE_SECONDS
        return count


class Retention:
    """Deletes several kinds of old rows in turn, as long as there are any."""

    def __init__(self, database: Database, kinds: Sequence[OldRows]) -> None:
        self._database = database
        self._kinds = kinds
        self._has_deleted = True

    def pause_seconds(self) -> float:
        """Return the seconds until the next call."""
        return _BUSY_SECONDS if self._has_deleted else _IDLE_SECONDS

    def run_once(self, _now: float) -> int:
        """Delete old rows for some seconds. Returns their number. A kind that fails does not stop the others."""
        ends = time.monotonic() + _CALL_SECONDS
        waiting, count, failure = list(self._kinds), 0, None
        while waiting and time.monotonic() < ends:
            for kind in tuple(waiting):
                try:
                    count += kind.delete_batch(self._database)
                except DatabaseUnavailable as error:
                    failure = error
                    waiting.remove(kind)
                else:
                    if not kind.has_more:
                        waiting.remove(kind)
        self._has_deleted = count > 0
        if failure is not None:
            raise failure
        return count


def of_jobs(
    database: Database, *, retention_days: float, audit_days: float, silent_nodes: Callable[[], Collection[str]]
) -> Retention:
    """Return the duty that deletes final jobs with their log lines, expired idempotency keys and sessions, keys of
    debounced triggers, pulled runs, ended nodes and operations, firings of schedules, audit entries, counts of ended
    jobs, and groups of errors.

    `silent_nodes` returns the ids of nodes that count as dead.
    """
    kinds: Sequence[Callable[[Connection, int], int]] = (
        lambda connection, limit: idempotency.delete_expired(connection, limit=limit),
        lambda connection, limit: debounce.delete_old(connection, limit=limit),
        lambda connection, limit: pull.delete_old(connection, limit=limit),
        lambda connection, limit: sessions.delete_expired(connection, limit=limit),
        lambda connection, _: nodes.delete_old(connection, after_seconds=_ENDED_NODE_SECONDS, silent=silent_nodes()),
        lambda connection, limit: firings.delete_old(connection, retention_days=retention_days, limit=limit),
        lambda connection, limit: bulk_operations.delete_old(connection, retention_days=retention_days, limit=limit),
        lambda connection, limit: audit.delete_old(connection, kept_days=audit_days, limit=limit),
        lambda connection, limit: analytics.delete_old(connection, limit=limit),
        lambda connection, limit: job_times.delete_old(connection, limit=limit),
        lambda connection, limit: counting.delete_old(connection, limit=limit),
        lambda connection, limit: statistics.delete_old(connection, keep_seconds=_MINUTES_SECONDS, limit=limit),
    )
    jobs = OldJobs(retention_days=retention_days)
    of_jobs = OldRows(jobs.delete, ends=lambda: jobs.is_at_end)
    return Retention(database, [of_jobs, *(OldRows(delete) for delete in kinds)])


def of_events(database: Database, *, retention_days: float, event_days: float) -> Retention:
    """Return the duty that deletes old webhook events with their deliveries, the rest of deleted webhooks, and old
    events and deliveries that came in, as far as no partition takes them with it, and former subscriptions.

    `event_days`: the days that what came in is kept.
    """
    kinds: Sequence[Callable[[Connection, int], int]] = (
        lambda connection, limit: events.delete_old(connection, retention_days=retention_days, limit=limit),
        lambda connection, limit: old_rows.delete_old(connection, "events", kept_days=event_days, limit=limit),
        lambda connection, limit: old_rows.delete_old(connection, "hook_deliveries", kept_days=event_days, limit=limit),
        lambda connection, limit: old_rows.delete_keys(connection, limit=limit),
        lambda connection, limit: subscriptions.delete_former(connection, limit=limit),
    )
    return Retention(database, [OldRows(delete) for delete in kinds])


def roll_partitions(
    database: Database, *, retention_days: float, webhook_retention_days: float, audit_days: float, event_days: float
) -> int:
    """Create the partitions of tables days ahead, and drop those whose rows are past retention, one of each table.

    `retention_days`: of the jobs whose worker and tenant have none of their own. Each change is bounded, and waits for
    a lock for a tenth of a second only. A table that fails does not stop the others. Raises `DatabaseUnavailable` after
    them.

    Returns the number of partitions.
    """
    kept_days = {
        partitions.LOGS: retention_days,
        "webhook_events": webhook_retention_days,
        "webhook_deliveries": webhook_retention_days,
        "audit": audit_days,
        "events": event_days,
        "hook_deliveries": event_days,
    }
    count, failure = 0, None
    for table in partitions.TABLES:
        try:
            with database.connect() as connection:
                count += _roll(connection, table, kept_days[table])
        except DatabaseUnavailable as error:
            failure = error
    if failure is not None:
        raise failure
    return count


def _roll(connection: Connection, table: str, kept_days: float) -> int:
    if table == partitions.LOGS:
        kept_days = old_jobs.days_kept(connection, default=kept_days).longest
    width = max(1, ceil(kept_days / _MAX_PARTITIONS[table]))
    ahead = _LOG_DAYS_AHEAD if table == partitions.LOGS else _DAYS_AHEAD
    added = partitions.add(connection, table, days_ahead=ahead, width_days=width)
    if table == partitions.LOGS:
        return added + partitions.drop_logs(connection, kept_days=kept_days, max_lines=_MAX_MOVED_LINES)
    dropped = partitions.drop(connection, table, kept_days=kept_days)
    if dropped and table == "webhook_deliveries":
        events.delete_endpoints(connection)
    return added + dropped
