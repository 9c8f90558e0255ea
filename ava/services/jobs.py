"""What clients do with jobs: one transaction, then publish."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress

from celery import Celery

from ava.broker import control
from ava.broker.publisher import Publisher
from ava.domain.caller import Caller
from ava.domain.job import Job, JobSpec, LogLevel, LogLine, Status
from ava.domain.worker import WorkerStatus
from ava.errors import BrokerUnavailable, JobNotFound, JobStateConflict, WorkerNotFound, WorkerPaused
from ava.store import jobs, nodes, reads, windows, workers
from ava.store.database import Connection, Database
from ava.store.reads import JobFilter, QueueCounts

__all__ = ["Jobs"]

_log = logging.getLogger(__name__)


class Jobs:
    """The use cases of jobs, over one database and one broker."""

    #: Seconds for which this process believes what it read of the closed windows.
    windows_seconds = 0.5

    def __init__(self, database: Database, publisher: Publisher, app: Celery) -> None:
        self._database = database
        self._publisher = publisher
        self._app = app
        self._closed: frozenset[str] = frozenset()
        self._closed_read_at = float("-inf")

    def trigger(self, caller: Caller, specs: Sequence[JobSpec]) -> list[Job]:
        """Store jobs, all or none, then publish those that can start.

        Raises `WorkerNotFound` or `WorkerPaused` for the first entry whose worker the tenant cannot run, and
        `DatabaseUnavailable`. A broker that is away delays the jobs and nothing else.
        """
        with self._database.transaction() if len(specs) > 1 else self._database.connect() as connection:
            created = jobs.insert(
                connection,
                tenant_id=caller.tenant_id,
                user_id=caller.user_id,
                specs=specs,
                closed=self._closed_windows(connection),
            )
            if len(created) < len(specs):
                self._refuse(connection, caller, specs)
        self._publish(created)
        return created

    def _closed_windows(self, connection: Connection) -> frozenset[str]:
        if time.monotonic() - self._closed_read_at > self.windows_seconds:
            self._closed_read_at = time.monotonic()
            self._closed = windows.closed(connection)
        return self._closed

    def _refuse(self, connection: Connection, caller: Caller, specs: Sequence[JobSpec]) -> None:
        for spec in specs:
            worker = workers.show(
                connection, tenant_id=caller.tenant_id, worker_id=spec.worker_id, dead_after_seconds=0
            )
            if worker is None:
                raise WorkerNotFound
            if worker.status is not WorkerStatus.ACTIVE:
                raise WorkerPaused
        # The worker came back between the two statements: the caller may simply try again.
        raise WorkerPaused

    def _publish(self, created: Sequence[Job]) -> None:
        startable = [job for job in created if job.published_at is not None]
        try:
            self._publisher.publish(startable)
        except BrokerUnavailable:
            _log.warning("The broker is out of reach; the dispatcher publishes later.", extra={"jobs": len(startable)})
            with suppress(Exception), self._database.connect() as connection:
                jobs.unpublish(connection, [job.id for job in startable])

    def show(self, caller: Caller, job_id: str) -> Job:
        """One job. Raises `JobNotFound`, `DatabaseUnavailable`."""
        with self._database.connect() as connection:
            return self._show(connection, caller, job_id)

    def _show(self, connection: Connection, caller: Caller, job_id: str) -> Job:
        if (job := reads.show(connection, tenant_id=caller.tenant_id, job_id=job_id)) is None:
            raise JobNotFound
        return job

    def page(
        self, caller: Caller, job_filter: JobFilter, *, limit: int, before_id: str | None = None, offset: int = 0
    ) -> tuple[list[Job], int]:
        """A page of jobs, newest first, and how many the filter finds (exact up to `reads.MOST_COUNTED`)."""
        tenant_id = caller.tenant_id
        with self._database.connect() as connection:
            found = reads.page(
                connection,
                tenant_id=tenant_id,
                job_filter=job_filter,
                limit=limit,
                before_id=before_id,
                offset=offset,
            )
            return found, reads.count(connection, tenant_id=tenant_id, job_filter=job_filter)

    def logs(
        self, caller: Caller, job_id: str, *, level: LogLevel | None, limit: int, after_seq: int
    ) -> tuple[Job, Sequence[LogLine]]:
        """A job and its log lines after a place in it, oldest first. Raises `JobNotFound`, `DatabaseUnavailable`."""
        with self._database.connect() as connection:
            job = self._show(connection, caller, job_id)
            return job, reads.log_lines(connection, job_id=job.id, level=level, limit=limit, after_seq=after_seq)

    def cancel(self, caller: Caller, job_id: str) -> Job:
        """Cancel a queued job, or have a running one stopped.

        Raises `JobStateConflict` where the job is final, `JobNotFound`, `DatabaseUnavailable`.
        """
        with self._database.connect() as connection:
            job = jobs.cancel(connection, tenant_id=caller.tenant_id, user_id=caller.user_id, job_id=job_id)
            if job is None:
                final = self._show(connection, caller, job_id)
                raise JobStateConflict(
                    f"The job is {final.status} already; only a queued or running job can be cancelled."
                )
            node_name = None if job.status is not Status.RUNNING else nodes.name_of(connection, job.node_id)
        if node_name is not None:
            self._revoke(job, node_name)
        return job

    def _revoke(self, job: Job, node_name: str) -> None:
        try:
            control.revoke(self._app, job_id=job.id, run_no=job.run_no, node_name=node_name)
        except BrokerUnavailable:
            _log.warning("A revoke could not be sent; the node finds it in the database.", extra={"job_id": job.id})

    def queue_counts(self, caller: Caller) -> QueueCounts:
        """The tenant's waiting and running jobs by worker."""
        with self._database.connect() as connection:
            return reads.queue_counts(connection, tenant_id=caller.tenant_id)
