"""Duties: delete rows past their retention in statements short enough to delay no others, and roll partitions."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from math import ceil

from ava.errors import DatabaseUnavailable
from ava.store import partitions
from ava.store.access import api_keys, oidc_sessions, sessions
from ava.store.containments import records
from ava.store.engine.database import Connection, Database
from ava.store.errors import counting
from ava.store.events import hook_deliveries, subscriptions
from ava.store.fleet import nodes
from ava.store.jobs import bulk_operations, idempotency, old_jobs
from ava.store.jobs.old_jobs import FIRST_POSITION, Position
from ava.store.jobs.transitions import debounce, pull
from ava.store.reports import analytics, audit, statistics
from ava.store.schedules import firings
from ava.store.webhooks import webhook_events

_CALL_SECONDS = 3.0
#: Seconds until the next call if this one deleted rows, and if it found none.
_BUSY_SECONDS = 1.0
_IDLE_SECONDS = 10.0
#: A batch that takes less than the first value doubles. A batch that fails or takes more than the second halves.
_SHORT_SECONDS = 0.2
_LONG_SECONDS = 1.0
#: Rows of the first, the smallest and the largest batch.
_FIRST_BATCH = 500
_SMALLEST_BATCH = 10
_LARGEST_BATCH = 20_000
#: Retention of the row of an ended node.
_ENDED_NODE_SECONDS = 3600.0
_MINUTES_SECONDS = 24 * 3600.0
#: Seconds between two passes over old jobs if retention differs between jobs: each pass reads every job that is past
#: the shortest retention.
_PASS_PAUSE_SECONDS = 600.0
#: Days ahead with partitions. Without one, rows go to the default partition and nothing is lost. Most statements on log
#: lines name a job, so more partitions cost nothing; statements on other tables scan every partition.
_LOG_DAYS_AHEAD, _DAYS_AHEAD = 7, 3
#: Approximate maximum number of partitions. Longer retention makes a partition span several days.
_MAX_PARTITIONS = {
    partitions.LOGS: 60,
    "audit": 30,
    "webhook_events": 15,
    "webhook_deliveries": 15,
    "events": 15,
    "hook_deliveries": 15,
}
#: An expired partition that still has lines of retained jobs is dropped if there are fewer than this: they are copied
#: under a lock.
_MAX_MOVED_LINES = 5_000


class OldRows:
    """One kind of old rows. The batch size adapts to the duration of the deletions."""

    def __init__(self, delete: Callable[[Connection, int], int], *, ends: Callable[[], bool] | None = None) -> None:
        """`delete` deletes up to about the given number of rows, oldest first, and returns at least that number if more
        remain. `ends`, if given, returns True after a batch if none remain.
        """
        self.batch = _FIRST_BATCH
        self.has_more = True
        self._delete = delete
        self._ends = ends

    def delete_batch(self, database: Database) -> int:
        """Delete one batch. Returns the number of rows. Raises `DatabaseUnavailable`, also on a statement timeout."""
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
    """Scans jobs past the shortest retention, oldest first, and deletes jobs past their own retention."""

    def __init__(self, *, retention_days: float) -> None:
        """`retention_days`: default for workers and tenants that set none."""
        self.is_at_end = True
        self._retention_days = retention_days
        self._position: Position = FIRST_POSITION
        self._next_pass = float("-inf")

    def delete(self, connection: Connection, limit: int) -> int:
        """Delete up to `limit` log lines, and up to `limit` jobs without further lines. Returns the sum of both."""
        self.is_at_end = True
        if time.monotonic() < self._next_pass:
            return 0
        retention = old_jobs.job_retention(connection, default=self._retention_days)
        scanned = old_jobs.scan(connection, retention, after=self._position, limit=limit)
        lines = old_jobs.delete_lines(connection, scanned, limit=limit)
        count = lines + old_jobs.delete(connection, scanned)
        if lines >= limit:
            # Some of these jobs may have more lines, so the next batch scans them again.
            self.is_at_end = False
        elif scanned.count >= limit:
            self.is_at_end = False
            self._position = scanned.position
        else:
            self._position = FIRST_POSITION
            if retention.shortest < retention.longest:
                self._next_pass = time.monotonic() + _PASS_PAUSE_SECONDS
        return count


class Retention:
    def __init__(self, database: Database, kinds: Sequence[OldRows]) -> None:
        self._database = database
        self._kinds = kinds
        self._has_deleted = True

    def pause_seconds(self) -> float:
        return _BUSY_SECONDS if self._has_deleted else _IDLE_SECONDS

    def run_once(self, _now: float) -> int:
        """Delete old rows for up to `_CALL_SECONDS`. Returns the number of rows. A kind that fails does not stop the
        others.
        """
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
    """Return the duty that deletes ended jobs with their log lines, expired idempotency keys and sessions, used nonces,
    debounce keys, pulled runs, ended nodes and operations, firings, audit entries, revoked keys, counts of ended jobs,
    and error
    groups.

    `silent_nodes` returns the ids of dead nodes.
    """
    kinds: Sequence[Callable[[Connection, int], int]] = (
        idempotency.delete_expired,
        debounce.delete_old,
        pull.delete_old,
        sessions.delete_expired,
        oidc_sessions.delete_used,
        lambda connection, _: nodes.delete_old(connection, after_seconds=_ENDED_NODE_SECONDS, silent=silent_nodes()),
        partial(firings.delete_old, retention_days=retention_days),
        partial(bulk_operations.delete_old, retention_days=retention_days),
        lambda connection, limit: audit.delete_old(connection, retention_days=audit_days, limit=limit),
        partial(api_keys.delete_old, retention_days=audit_days),
        lambda connection, limit: records.delete_old(connection, retention_days=audit_days, limit=limit),
        analytics.delete_old,
        statistics.delete_old_times,
        lambda connection, limit: counting.delete_old(connection, limit=limit),
        partial(statistics.delete_old, keep_seconds=_MINUTES_SECONDS),
    )
    jobs = OldJobs(retention_days=retention_days)
    of_jobs = OldRows(jobs.delete, ends=lambda: jobs.is_at_end)
    return Retention(database, [of_jobs, *(OldRows(delete) for delete in kinds)])


def of_events(database: Database, *, retention_days: float, event_days: float) -> Retention:
    """Return the duty that deletes old webhook events with their deliveries, leftovers of deleted webhooks, replaced
    subscriptions, and incoming events and deliveries that are not dropped with a partition.
    """
    kinds: Sequence[Callable[[Connection, int], int]] = (
        lambda connection, limit: webhook_events.delete_old(connection, retention_days=retention_days, limit=limit),
        lambda connection, limit: hook_deliveries.delete_old(
            connection, "events", retention_days=event_days, limit=limit
        ),
        lambda connection, limit: hook_deliveries.delete_old(
            connection, "hook_deliveries", retention_days=event_days, limit=limit
        ),
        hook_deliveries.delete_keys,
        lambda connection, limit: subscriptions.delete_former(connection, limit=limit),
    )
    return Retention(database, [OldRows(delete) for delete in kinds])


def roll_partitions(
    database: Database, *, retention_days: float, webhook_retention_days: float, audit_days: float, event_days: float
) -> int:
    """Create partitions ahead of time and drop one expired partition per table.

    `retention_days`: default for workers and tenants that set none. Each change is bounded and waits at most 0.1 s for
    a lock. A table that fails does not stop the others; `DatabaseUnavailable` is raised after all of them.

    Returns the number of partitions that were created or dropped.
    """
    days_of_table = {
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
                count += _roll(connection, table, days_of_table[table])
        except DatabaseUnavailable as error:
            failure = error
    if failure is not None:
        raise failure
    return count


def _roll(connection: Connection, table: str, retention_days: float) -> int:
    if table == partitions.LOGS:
        retention_days = old_jobs.job_retention(connection, default=retention_days).longest
    width = max(1, ceil(retention_days / _MAX_PARTITIONS[table]))
    ahead = _LOG_DAYS_AHEAD if table == partitions.LOGS else _DAYS_AHEAD
    added = partitions.add(connection, table, days_ahead=ahead, width_days=width)
    if table == partitions.LOGS:
        return added + partitions.drop_logs(connection, retention_days=retention_days, max_lines=_MAX_MOVED_LINES)
    return added + partitions.drop(connection, table, retention_days=retention_days)
