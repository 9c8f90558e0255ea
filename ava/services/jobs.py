"""The use cases of jobs: one transaction, then publish."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from ava import tracing
from ava.broker.control import Control
from ava.broker.publisher import Publisher
from ava.domain.caller import Caller
from ava.domain.explanation import Explanation, explain
from ava.domain.input_schema import InputMismatch
from ava.domain.job import Job, JobSpec, Status
from ava.domain.job_filter import JobFilter, JobSort
from ava.domain.redaction import shown_to
from ava.domain.run_log import JobRuns, runs_of
from ava.domain.worker import Worker, WorkerStatus
from ava.errors import (
    BrokerUnavailable,
    IdempotencyKeyReused,
    JobNotFound,
    JobStateConflict,
    QueueRefused,
    WorkerDeprecated,
    WorkerNotFound,
)
from ava.services.fingerprint import fingerprint
from ava.services.grouped_triggers import GroupedTriggers, insert_group, is_groupable
from ava.services.input_schemas import InputSchemas, Versions
from ava.services.keyed_triggers import KeyedTriggers
from ava.services.quotas import TenantQuotas
from ava.services.trigger_rules import TriggerRules
from ava.settings import Settings
from ava.store.engine.database import Connection, Database
from ava.store.fleet import nodes, workers
from ava.store.jobs import (
    batches,
    client_moves,
    explanation_reads,
    idempotency,
    log_reads,
    reads,
    run_reads,
    waiting_reads,
)
from ava.store.jobs.batches import JobBatch
from ava.store.jobs.idempotency import EarlierRequest
from ava.store.jobs.log_reads import LogRange
from ava.store.jobs.moves import make
from ava.store.jobs.moves.make import NewJob
from ava.store.jobs.reads import JobPage, Payloads
from ava.store.jobs.rows import FoundLines
from ava.store.schedules import firings

__all__ = ["Jobs"]

_log = logging.getLogger(__name__)

#: The jobs that one statement of an export reads.
_EXPORT_BATCH = 200
#: Bytes of inputs that take long to compare, or to search for credentials.
_LONG_BYTES = 2**16


class Jobs:
    """The use cases of jobs, over one database and one broker."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        control: Control,
        *,
        settings: Settings | None = None,
        run_long: Callable[[Callable[[], Any]], Any] = lambda work: work(),
    ) -> None:
        """`run_long` returns the result of work that takes long, and lets other requests go on meanwhile."""
        self._database = database
        self._publisher = publisher
        self._control = control
        self._run_long = run_long
        #: The schemas that inputs must match.
        self.schemas = InputSchemas(run_long)
        self._quota = TenantQuotas.of(settings) if settings else TenantQuotas()
        #: What the settings allow new jobs.
        self.rules = TriggerRules.of(settings) if settings else TriggerRules()
        # The dispatcher publishes the jobs of tenants with a limit, and all have one if the settings name it.
        self._max_published = make.MAX_PUBLISHED if self.rules.tenant_max_running is None else 0
        self._groups = GroupedTriggers(lambda new: insert_group(database, self._quota, new), publish=self.publish)

    def trigger(self, caller: Caller, specs: Sequence[JobSpec]) -> list[Job]:
        """Store jobs, all or none, then publish those that can start now.

        Raises `InputMismatch`, `WorkerNotFound`, `WorkerDeprecated` or, if its key is taken, `JobStateConflict` for the
        first entry to blame, and `DatabaseUnavailable`. If the broker is out of reach, the jobs start later.
        """
        if len(specs) == 1 and (job := self._trigger_in_group(caller, specs[0])) is not None:
            return [job]
        needs_transaction = len(specs) > 1 or specs[0].key is not None

        def store() -> list[Job]:
            with self._database.transaction() if needs_transaction else self._database.connect() as connection:
                return self._insert(connection, caller, specs)

        created = self.schemas.repeat_if_changed(self._database, caller.tenant_id, specs, store)
        self.publish(created)
        return created

    def _trigger_in_group(self, caller: Caller, spec: JobSpec) -> Job | None:
        """Store a job together with others, and publish it. Returns None if it is to be stored on its own."""
        if not is_groupable(spec):
            return None
        self.rules.refuse_urgent(caller, [spec])
        version = self.schemas.versions(caller.tenant_id, [spec.worker_id]).get(spec.worker_id)
        if version is not None:
            try:
                self.schemas.check(caller.tenant_id, [spec])
            except InputMismatch:
                return None
        new = NewJob(
            tenant_id=caller.tenant_id,
            user_id=caller.user_id,
            spec=spec,
            may_publish=self._max_published > 0,
            traceparent=tracing.current(),
            schema_version=version,
        )
        return self._groups.trigger(new)

    def trigger_once(self, caller: Caller, specs: Sequence[JobSpec], key: str) -> tuple[list[Job], bool]:
        """Trigger jobs once per idempotency key. Returns the jobs, and True if an earlier call triggered them.

        Raises `IdempotencyKeyReused` if the key came with other jobs, and what `trigger` raises.
        """
        is_long = sum(len(spec.input_json) for spec in specs) > _LONG_BYTES
        digest = self._run_long(lambda: fingerprint(specs)) if is_long else fingerprint(specs)

        def store() -> tuple[list[Job], bool]:
            with self._database.transaction() as connection:
                earlier = idempotency.reserve(connection, tenant_id=caller.tenant_id, key=key, fingerprint=digest)
                if earlier is not None:
                    return self._earlier_jobs(connection, caller, earlier, digest), True
                created = self._insert(connection, caller, specs)
                idempotency.record_jobs(
                    connection, tenant_id=caller.tenant_id, key=key, job_ids=[job.id for job in created]
                )
            return created, False

        created, is_replay = self.schemas.repeat_if_changed(self._database, caller.tenant_id, specs, store)
        if not is_replay:
            self.publish(created)
        return created, is_replay

    def _earlier_jobs(
        self, connection: Connection, caller: Caller, earlier: EarlierRequest, fingerprint: bytes
    ) -> list[Job]:
        if earlier.fingerprint != fingerprint:
            raise IdempotencyKeyReused
        found = reads.show_many(connection, tenant_id=caller.tenant_id, job_ids=earlier.job_ids)
        if len(found) < len(earlier.job_ids):
            raise JobNotFound
        return found

    def _insert(self, connection: Connection, caller: Caller, specs: Sequence[JobSpec]) -> list[Job]:
        self.rules.refuse_urgent(caller, specs)
        # Before the check, because another thread may read a newer schema after it.
        versions = self.schemas.versions_of(caller.tenant_id, specs)
        self.schemas.check(caller.tenant_id, specs)
        if any(spec.key for spec in specs):
            return self._insert_keyed(connection, caller, specs, versions)
        created = self._store(connection, caller, specs, versions)
        if len(created) < len(specs):
            self.schemas.raise_if_changed(connection, caller.tenant_id, specs, versions)
            self._refuse_workers(connection, caller, specs)
            # The worker was deprecated until between the two statements; the caller may try again.
            raise WorkerDeprecated
        return created

    def _insert_keyed(
        self, connection: Connection, caller: Caller, specs: Sequence[JobSpec], versions: Versions
    ) -> list[Job]:
        def raise_if_refused() -> None:
            self.schemas.raise_if_changed(connection, caller.tenant_id, specs, versions)
            self._refuse_workers(connection, caller, specs)

        arguments = self._arguments(caller, versions)
        admit = partial(self._admit, connection, caller)
        keyed = KeyedTriggers(connection, caller, arguments, admit=admit, raise_if_refused=raise_if_refused)
        return keyed.store(specs)

    def retry(
        self,
        caller: Caller,
        job_id: str,
        key: str | None = None,
        *,
        input_json: str | None = None,
        priority: int | None = None,
    ) -> tuple[Job, bool]:
        """Trigger a new job like a final one, with another input or priority if one is given.

        Returns it, and True if an earlier call with the key triggered it. Raises `JobNotFound`, `JobStateConflict` if
        the job is not final, and what `trigger_once` raises.
        """
        with self._database.connect() as connection:
            job = self._show(connection, caller, job_id)
        if not job.is_final:
            raise JobStateConflict(f"The job is still {job.status}; only a final job can be retried.")
        spec = self.retry_spec(caller, job)
        spec = replace(spec, input_json=input_json or spec.input_json, priority=priority or spec.priority)
        if key is None:
            return self.trigger(caller, [spec])[0], False
        (retried,), is_replay = self.trigger_once(caller, [spec], key)
        return retried, is_replay

    def retry_spec(self, caller: Caller, job: Job) -> JobSpec:
        """Returns what triggers a job like a final one again."""
        return JobSpec(
            worker_id=job.worker_id,
            input_json=job.input_json,
            trigger=job.trigger,
            # A job of the platform may have been more urgent than this caller may ask for.
            priority=self.rules.bounded_by_role(caller, job.priority),
            retry_of=job.id,
            tags_json=job.tags_json,
        )

    def insert_runnable(self, connection: Connection, caller: Caller, specs: Sequence[JobSpec]) -> list[Job]:
        """Store those of the jobs whose worker takes them now, and return them for `publish`.

        It belongs to the caller's transaction. Raises `TooMany` if the tenant may not have so many queued jobs more.
        """
        matching = self.schemas.matching(connection, caller.tenant_id, specs)
        return self._store(connection, caller, matching, self.schemas.versions_of(caller.tenant_id, matching))

    def _store(self, connection: Connection, caller: Caller, specs: Sequence[JobSpec], versions: Versions) -> list[Job]:
        self._admit(connection, caller, specs)
        arguments = self._arguments(caller, versions)
        return make.insert(connection, specs=specs, **arguments)

    def _admit(self, connection: Connection, caller: Caller, specs: Sequence[JobSpec]) -> None:
        size = sum(len(spec.input_json) for spec in specs)
        self._quota.admit(connection, caller.tenant_id, jobs=len(specs), size=size)

    def _arguments(self, caller: Caller, versions: Versions) -> dict[str, Any]:
        """Returns the arguments of `make.insert`, without the jobs."""
        return {
            "tenant_id": caller.tenant_id,
            "user_id": caller.user_id,
            "max_published": self._max_published,
            "traceparent": tracing.current(),
            "schema_versions": versions,
        }

    def _refuse_workers(self, connection: Connection, caller: Caller, specs: Sequence[JobSpec]) -> None:
        known: dict[str, Worker | None] = {}
        for entry, spec in enumerate(specs):
            if spec.worker_id not in known:
                known[spec.worker_id] = workers.show(
                    connection, tenant_id=caller.tenant_id, worker_id=spec.worker_id, dead_after_seconds=0
                )
            worker = known[spec.worker_id]
            if worker is None or worker.status is WorkerStatus.DEPRECATED:
                error = WorkerNotFound() if worker is None else WorkerDeprecated()
                error.entry = entry
                raise error

    def publish(self, created: Sequence[Job]) -> None:
        """Publish those of the stored jobs that can start now. If the broker is out of reach, they start later."""
        startable = [job for job in created if job.published_at is not None and not job.is_existing]
        try:
            self._publisher.publish(startable)
        except BrokerUnavailable as error:
            reason, unsent = "the broker is out of reach", [job.id for job in startable]
            if isinstance(error, QueueRefused):
                reason, unsent = "the broker refuses the queue", list(error.job_ids)
            _log.warning("Publish failed, %s: the dispatcher publishes later", reason, extra={"jobs": len(unsent)})
            with suppress(Exception), self._database.connect() as connection:
                client_moves.unpublish(connection, unsent)

    def show(self, caller: Caller, job_id: str) -> Job:
        """Returns one job as the caller may see it. Raises `JobNotFound`, `DatabaseUnavailable`."""
        with self._database.connect() as connection:
            job = self._show(connection, caller, job_id)
        return self._shown_to(caller, job)

    def _shown_to(self, caller: Caller, job: Job) -> Job:
        if len(job.input_json) <= _LONG_BYTES:
            return shown_to(caller, job)
        shown: Job = self._run_long(lambda: shown_to(caller, job))
        return shown

    def _show(self, connection: Connection, caller: Caller, job_id: str) -> Job:
        if (job := reads.show(connection, tenant_id=caller.tenant_id, job_id=job_id)) is None:
            raise JobNotFound
        return job

    def page(
        self,
        caller: Caller,
        job_filter: JobFilter,
        *,
        limit: int,
        before_id: str | None = None,
        offset: int = 0,
        payloads: Payloads,
        sort: JobSort | None = None,
    ) -> tuple[JobPage, int]:
        """Returns a page of jobs as the caller may see them, newest first unless they are sorted, and their total.

        The total is exact up to `paging.MAX_IN_TOTAL`; that of a search, among the first jobs that it looks at.
        """
        with self._database.connect() as connection:
            found = reads.page(
                connection,
                tenant_id=caller.tenant_id,
                job_filter=job_filter,
                limit=limit,
                before_id=before_id,
                offset=offset,
                payloads=payloads,
                sort=sort,
            )
            total = found.total
            if total is None:
                total = reads.count(connection, tenant_id=caller.tenant_id, job_filter=job_filter)
        return replace(found, jobs=[self._shown_to(caller, job) for job in found.jobs]), total

    def batch(self, caller: Caller, job_filter: JobFilter, *, before_id: str | None) -> JobBatch:
        """Returns the next whole jobs of an export as the caller may see them. Raises `DatabaseUnavailable`."""
        with self._database.connect() as connection:
            found = batches.next_jobs(
                connection,
                tenant_id=caller.tenant_id,
                job_filter=job_filter,
                limit=_EXPORT_BATCH,
                before_id=before_id,
            )
        return replace(found, jobs=[self._shown_to(caller, job) for job in found.jobs])

    def logs(self, caller: Caller, job_id: str, wanted: LogRange) -> tuple[Status, FoundLines]:
        """Returns a job's status and lines of its log. Raises `JobNotFound`, `DatabaseUnavailable`."""
        with self._database.connect() as connection:
            status = reads.status(connection, tenant_id=caller.tenant_id, job_id=job_id)
            if status is None:
                raise JobNotFound
            return status, log_reads.log_lines(connection, job_id=job_id, wanted=wanted)

    def runs(self, caller: Caller, job_id: str) -> JobRuns:
        """Returns the runs of a job. Raises `JobNotFound`, `DatabaseUnavailable`."""
        with self._database.connect() as connection:
            job = self._show(connection, caller, job_id)
            return runs_of(job, run_reads.run_lines(connection, job_id=job.id))

    def cancel(self, caller: Caller, job_id: str) -> Job:
        """Cancel a queued job, or ask the node of a running one to stop it. Returns the job.

        Raises `JobStateConflict` if the job is final, `JobNotFound`, `DatabaseUnavailable`.
        """
        with self._database.connect() as connection:
            job = client_moves.cancel(connection, tenant_id=caller.tenant_id, user_id=caller.user_id, job_id=job_id)
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
            self._control.revoke(job_id=job.id, run_no=job.run_no, node_name=node_name)
        except BrokerUnavailable:
            _log.warning(
                "Revoke failed, the broker is out of reach: the node reads the cancel from the database",
                extra={"job_id": job.id},
            )

    def explain(self, caller: Caller, job_id: str, *, node_dead_seconds: float) -> Explanation:
        """Explain why a job is in its state. Raises `JobNotFound`, `DatabaseUnavailable`."""
        with self._database.connect() as connection:
            job = self._show(connection, caller, job_id)
            facts = explanation_reads.read_facts(connection, job, dead_after_seconds=node_dead_seconds)
            facts = replace(
                facts,
                firing=firings.firing_of(connection, job),
                waiting=waiting_reads.read_waiting(connection, job, tenant_max_running=self.rules.tenant_max_running),
            )
        return explain(facts if caller.is_operator else facts.without_names())
