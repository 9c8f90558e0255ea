"""Use cases of error groups: list, show, resolve, ignore, reopen, retry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from ava.domain import ids
from ava.domain.access.caller import Caller
from ava.domain.counts import PageBounds
from ava.domain.error_group import MAX_RETRIED, ErrorGroup, ErrorStatus
from ava.domain.jobs.job import Status
from ava.domain.jobs.job_filter import JobFilter
from ava.errors import ErrorGroupNotFound
from ava.services.reports import midnight_before
from ava.store.engine import clock
from ava.store.engine.database import Connection, Database
from ava.store.errors import groups
from ava.store.errors.groups import ErrorFilter
from ava.store.jobs.reads import batches

#: The days before today that a time range without a start has.
_DAYS = 30


class ErrorReports:
    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self,
        caller: Caller,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        worker_id: str | None = None,
        status: ErrorStatus | None = None,
        bounds: PageBounds,
    ) -> tuple[Sequence[ErrorGroup], int]:
        """Return a page of the groups with jobs that failed in a time range, and the number of matches.

        `since`: None means the last `_DAYS` days.
        """
        with self._database.connect() as connection:
            since = since or _default_since(connection)
            error_filter = ErrorFilter(since=since, until=until, worker_id=worker_id, status=status)
            return groups.page(connection, tenant_id=caller.tenant_id, error_filter=error_filter, bounds=bounds)

    def show(
        self, caller: Caller, error_id: str, *, since: datetime | None = None, until: datetime | None = None
    ) -> ErrorGroup:
        """Return a group with its jobs of a time range, as in a page. Raise `ErrorGroupNotFound`."""
        with self._database.connect() as connection:
            return _show(connection, caller, error_id, since, until)

    def retry_filter(self, caller: Caller, error_id: str) -> JobFilter:
        """Return a filter for the failed jobs of a group, at most the newest `MAX_RETRIED`.

        Raise `ErrorGroupNotFound`.
        """
        job_filter = JobFilter(error_id=error_id, status=Status.FAILED)
        with self._database.connect() as connection:
            _show(connection, caller, error_id)
            beyond = batches.job_after(
                connection, tenant_id=caller.tenant_id, job_filter=job_filter, number=MAX_RETRIED
            )
        if beyond is None:
            return job_filter
        # Filters have millisecond precision, so other jobs of the same millisecond are excluded, too.
        return replace(job_filter, created_after=ids.timestamp_of("job", beyond) + timedelta(milliseconds=1))

    def change(self, caller: Caller, error_id: str, status: ErrorStatus) -> tuple[ErrorStatus, ErrorGroup]:
        """Set a group's status. Return the previous one, and the group. Raise `ErrorGroupNotFound`."""
        with self._database.connect() as connection:
            before = groups.change(connection, tenant_id=caller.tenant_id, error_id=error_id, status=status)
            if before is None:
                raise ErrorGroupNotFound
            return before, _show(connection, caller, error_id)


def _default_since(connection: Connection) -> datetime:
    return midnight_before(clock.now(connection), _DAYS)


def _show(
    connection: Connection, caller: Caller, error_id: str, since: datetime | None = None, until: datetime | None = None
) -> ErrorGroup:
    since = since or _default_since(connection)
    found = groups.show(connection, tenant_id=caller.tenant_id, error_id=error_id, since=since, until=until)
    if found is None:
        raise ErrorGroupNotFound
    return found
