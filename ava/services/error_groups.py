"""Use cases of error groups: list, show, resolve, ignore, reopen, retry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from ava.domain import ids
from ava.domain.access.caller import Caller
from ava.domain.analytics import MAX_DAYS
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


class ErrorReports:
    """Use cases of error groups."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self,
        caller: Caller,
        *,
        days: int,
        worker_id: str | None,
        status: ErrorStatus | None,
        limit: int,
        offset: int = 0,
        before_id: str | None = None,
    ) -> tuple[Sequence[ErrorGroup], int]:
        """Return a page of the groups with jobs that failed within `days`, and the number of matches."""
        with self._database.connect() as connection:
            since = midnight_before(clock.now(connection), days)
            error_filter = ErrorFilter(since=since, worker_id=worker_id, status=status)
            found = groups.page(
                connection,
                tenant_id=caller.tenant_id,
                error_filter=error_filter,
                limit=limit,
                offset=offset,
                before_id=before_id,
            )
            return found, groups.count(connection, tenant_id=caller.tenant_id, error_filter=error_filter)

    def show(self, caller: Caller, error_id: str, *, days: int) -> ErrorGroup:
        """Return a group with its jobs of `days`. Raise `ErrorGroupNotFound`."""
        with self._database.connect() as connection:
            return _show(connection, caller, error_id, days)

    def retry_filter(self, caller: Caller, error_id: str) -> JobFilter:
        """Return a filter for the failed jobs of a group, at most the newest `MAX_RETRIED`.

        Raise `ErrorGroupNotFound`.
        """
        job_filter = JobFilter(error_id=error_id, status=Status.FAILED)
        with self._database.connect() as connection:
            _show(connection, caller, error_id, MAX_DAYS)
            beyond = batches.job_after(connection, tenant_id=caller.tenant_id, job_filter=job_filter, place=MAX_RETRIED)
        if beyond is None:
            return job_filter
        # Filters have millisecond precision, so other jobs of the same millisecond are excluded, too.
        return replace(job_filter, created_after=ids.timestamp_of("job", beyond) + timedelta(milliseconds=1))

    def change(
        self, caller: Caller, error_id: str, status: ErrorStatus, *, days: int
    ) -> tuple[ErrorStatus, ErrorGroup]:
        """Set a group's status. Return the previous one, and the group. Raise `ErrorGroupNotFound`."""
        with self._database.connect() as connection:
            before = groups.change(connection, tenant_id=caller.tenant_id, error_id=error_id, status=status)
            if before is None:
                raise ErrorGroupNotFound
            return before, _show(connection, caller, error_id, days)


def _show(connection: Connection, caller: Caller, error_id: str, days: int) -> ErrorGroup:
    since = midnight_before(clock.now(connection), days)
    found = groups.show(connection, tenant_id=caller.tenant_id, error_id=error_id, since=since)
    if found is None:
        raise ErrorGroupNotFound
    return found
