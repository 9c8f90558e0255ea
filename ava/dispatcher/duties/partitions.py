"""Duty: create the partitions of tables that grow days ahead, and drop those whose rows are past retention."""

from __future__ import annotations

from math import ceil

from ava.dispatcher.duty import Duty
from ava.errors import DatabaseUnavailable
from ava.store import partitions
from ava.store.engine.database import Database
from ava.store.jobs import old_jobs
from ava.store.webhooks import events

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


class Partitions(Duty):
    """Adds and drops partitions; each is bounded, and waits for a lock for a tenth of a second only."""

    name = "partitions"
    changes = "partitions added, detached or dropped"
    every_seconds = 60.0

    def __init__(
        self,
        database: Database,
        *,
        retention_days: float,
        webhook_retention_days: float,
        audit_days: float,
        event_days: float,
    ) -> None:
        """`retention_days`: of the jobs whose worker and tenant have none of their own."""
        super().__init__()
        self._database = database
        self._retention_days = retention_days
        self._kept_days = {
            "webhook_events": webhook_retention_days,
            "webhook_deliveries": webhook_retention_days,
            "audit": audit_days,
            "events": event_days,
            "hook_deliveries": event_days,
        }

    def run_once(self, _now: float) -> int:
        """Add what is missing, and detach or drop one of each table. Returns the number of partitions.

        A table that fails does not stop the others. Raises `DatabaseUnavailable` after them.
        """
        count, failure = 0, None
        for table in partitions.TABLES:
            try:
                count += self._run_table(table)
            except DatabaseUnavailable as error:
                failure = error
        if failure is not None:
            raise failure
        return count

    def _run_table(self, table: str) -> int:
        with self._database.connect() as connection:
            if table == partitions.LOGS:
                kept_days = old_jobs.days_kept(connection, default=self._retention_days).longest
            else:
                kept_days = self._kept_days[table]
            width = max(1, ceil(kept_days / _MAX_PARTITIONS[table]))
            ahead = _LOG_DAYS_AHEAD if table == partitions.LOGS else _DAYS_AHEAD
            added = partitions.add(connection, table, days_ahead=ahead, width_days=width)
            if table == partitions.LOGS:
                return added + partitions.drop_logs(connection, kept_days=kept_days, max_lines=_MAX_MOVED_LINES)
            dropped = partitions.drop(connection, table, kept_days=kept_days)
            if dropped and table == "webhook_deliveries":
                events.delete_endpoints(connection)
            return added + dropped
