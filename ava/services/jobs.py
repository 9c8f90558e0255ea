"""Use cases of jobs: one transaction, then publish."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from ava.broker.control import Control
from ava.broker.publisher import Publisher
from ava.domain import ids
from ava.domain.access.actor import Actor
from ava.domain.access.caller import Caller
from ava.domain.counts import MAX_IN_TOTAL
from ava.domain.jobs import graphs, job_change
from ava.domain.jobs.explanation import Explanation, explain
from ava.domain.jobs.graphs import Tree
from ava.domain.jobs.job import Job, JobSpec, Status
from ava.domain.jobs.job_change import JobChange
from ava.domain.jobs.job_filter import JobFilter, JobSort
from ava.domain.jobs.new_job import NewJob
from ava.domain.jobs.run_log import JobRun, own_run, retained_run
from ava.domain.jobs.waits import ShownEntry, ShownWait
from ava.domain.secrets.redaction import shown_to
from ava.errors import BrokerUnavailable, JobNotFound, JobStateConflict, PayloadsHidden, QueueRefused, RequestError
from ava.process.pauses import Pauses
from ava.services import job_retries, replays
from ava.services.creation.job_creator import JobCreator, arrange
from ava.services.creation.quotas import TriggerRules
from ava.services.creation.trigger_groups import TriggerGroups, is_groupable
from ava.services.fleet import revoke_all
from ava.settings import Settings
from ava.store.engine.database import Connection, Database
from ava.store.jobs import idempotency
from ava.store.jobs.reads import batches, job_logs, journals, lists, trees, why
from ava.store.jobs.reads.batches import JobBatch
from ava.store.jobs.reads.job_logs import LogRange
from ava.store.jobs.reads.lists import JobPage, Payloads
from ava.store.jobs.rows import FoundLines
from ava.store.jobs.transitions import cancel, recall
from ava.store.jobs.transitions import change as change_transition
from ava.store.schedules import firings

_log = logging.getLogger(__name__)

_Found = TypeVar("_Found")

#: Jobs per statement of an export.
_EXPORT_BATCH = 200
#: Inputs of this size take long to validate, or to search for credentials.
_LONG_BYTES = 2**16


class Jobs:
    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        control: Control,
        *,
        settings: Settings | None = None,
        run_long: Callable[[Callable[[], Any]], Any] = lambda work: work(),
    ) -> None:
        """`run_long` returns the result of long work, while the process serves other requests."""
        self._database = database
        self._publisher = publisher
        self.control = control
        self._run_long = run_long
        self.creator = JobCreator.of(settings, run_long=run_long) if settings else JobCreator()
        self.rules = TriggerRules.of(settings) if settings else TriggerRules()
        #: Called with stored jobs that can start now.
        self.on_published: Callable[[Sequence[Job]], object] = lambda _jobs: None
        self._groups = TriggerGroups()

    def trigger(
        self, caller: Caller, specs: Sequence[JobSpec], key: str | None = None, *, behind: Sequence[Actor] = ()
    ) -> tuple[list[Job], bool]:
        """Store all jobs or none, then publish the jobs that can start now. If the broker is down, they start later.

        Return the jobs in order, and True if earlier calls with the same idempotency keys stored all of them. `behind`:
        identities behind the jobs besides the caller's, if no entry has a key. Raise for the first invalid entry:
        `PayloadsHidden` for an output that the caller may not see, `InputMismatch`, `WorkerNotFound`,
        `WorkerDeprecated`, `IdempotencyKeyReused`, or `JobStateConflict` if its key is taken.
        """
        if key is not None:
            return self._trigger_once(caller, specs, key, behind)
        if any(spec.idempotency_key is not None for spec in specs):
            return self._trigger_each_once(caller, specs)
        new = self._prepare(caller, specs, behind)
        if len(new) == 1 and is_groupable(new[0]) and (job := self._trigger_grouped(new[0])) is not None:
            return [job], False
        needs_transaction = len(specs) > 1 or specs[0].key is not None or specs[0].entry is not None
        with self._database.transaction() if needs_transaction else self._database.connect() as connection:
            created = self._create_all(connection, new)
        self.publish(created)
        return created, False

    def _prepare(self, caller: Caller, specs: Sequence[JobSpec], behind: Sequence[Actor] = ()) -> list[NewJob]:
        if not caller.sees_payloads and any(spec.entry is not None and spec.entry.has_references for spec in specs):
            raise PayloadsHidden("Only callers who see payloads may send an output to another job with $output.")
        self.rules.refuse_urgent(caller, specs)
        return self.creator.prepare(
            tenant_id=caller.tenant_id, user_id=caller.user_id, specs=specs, identities=[caller.actor, *behind]
        )

    def _create_all(self, connection: Connection, new: Sequence[NewJob]) -> list[Job]:
        is_graph = graphs.is_graph([each.spec for each in new])
        pauses = Pauses()
        arranged = arrange(connection, new) if is_graph else new
        pauses.after_work()
        return self.creator.create_all(connection, arranged)

    def _trigger_grouped(self, new: NewJob) -> Job | None:
        """Store and publish a job in a group of concurrent ones. Return None if the group's statement failed."""
        with self._groups.enter(new) as trigger:
            if trigger.leads:
                with self._groups.statement(trigger) as group, self._database.connect(of_process=True) as connection:
                    outcomes = self.creator.create(connection, [each.new for each in group])
                    for each, outcome in zip(group, outcomes, strict=True):
                        each.outcome = outcome
                self.publish([each.outcome for each in trigger.group if isinstance(each.outcome, Job)])
        if isinstance(trigger.outcome, BaseException):
            raise trigger.outcome
        return trigger.outcome

    def _trigger_once(
        self, caller: Caller, specs: Sequence[JobSpec], key: str, behind: Sequence[Actor]
    ) -> tuple[list[Job], bool]:
        digest = self._long(specs, lambda: replays.digest_of_jobs(specs))
        with self._database.transaction() as connection:
            if (earlier := replays.reserve_for(connection, caller, key, digest)) is not None:
                return _show_all(connection, caller, [ids.encode("job", uuid) for uuid in earlier]), True
            created = self._create_all(connection, self._prepare(caller, specs, behind))
            idempotency.record(connection, tenant_id=caller.tenant_id, key=key, made=[job.id for job in created])
        self.publish(created)
        return created, False

    def _trigger_each_once(self, caller: Caller, specs: Sequence[JobSpec]) -> tuple[list[Job], bool]:
        digests = self._long(specs, lambda: [replays.digest_of_jobs([spec]) for spec in specs])
        with self._database.transaction() as connection:
            earlier = replays.reserve_each(connection, caller, specs, digests)
            left = [n for n in range(len(specs)) if n not in earlier]
            try:
                created = self._create_all(connection, self._prepare(caller, [specs[n] for n in left])) if left else []
            except RequestError as error:
                error.entry = left[error.entry]
                raise
            job_ids = {key: job.id for n, job in zip(left, created, strict=True) if (key := specs[n].idempotency_key)}
            idempotency.record_each(connection, tenant_id=caller.tenant_id, job_ids=job_ids)
            found = _show_all(connection, caller, [ids.encode("job", uuid) for uuid in earlier.values()])
        self.publish(created)
        jobs = dict(zip([*left, *earlier], [*created, *found], strict=True))
        return [jobs[n] for n in range(len(specs))], not left

    def _long(self, specs: Sequence[JobSpec], work: Callable[[], _Found]) -> _Found:
        """Do work on inputs; during long work the process serves other requests."""
        is_long = sum(len(spec.input_json) for spec in specs) > _LONG_BYTES
        found: _Found = self._run_long(work) if is_long else work()
        return found

    def retry(
        self,
        caller: Caller,
        job_id: str,
        key: str | None = None,
        *,
        input_json: str | None = None,
        priority: int | None = None,
    ) -> tuple[Job, bool]:
        """Trigger a new job like a final one, optionally with another input or priority.

        Return it, and True for a repeated call. Raise `JobNotFound`, `JobStateConflict` if the job is not final, and
        every error of `trigger`.
        """
        with self._database.connect() as connection:
            job = self._show(connection, caller, job_id)
            (spec,) = job_retries.specs(connection, caller, [job], self.rules)
        if not job.is_final:
            raise JobStateConflict(f"The job is still {job.status}; only an ended job can be retried.")
        if graphs.is_unresolved(job) and input_json is None:
            raise JobStateConflict(
                'The job never had an input, because outputs that it refers to were missing; retry it with {"from": '
                '"failed"}, or send an input.'
            )
        spec = replace(spec, input_json=input_json or spec.input_json, priority=priority or spec.priority)
        (retried,), is_replay = self.trigger(caller, [spec], key)
        return retried, is_replay

    def retry_from_failed(self, caller: Caller, job_id: str, key: str | None = None) -> tuple[Job, bool]:
        """Trigger a bulk entry again, together with its followers that did not complete, as a new graph.

        Return the entry's new job, and True for a repeated call. Raise `JobNotFound`, `InvalidFields` if the job is not
        a bulk entry, `JobStateConflict` if it has completed or a follower is not final.
        """
        with self._database.transaction() as connection:
            job = self._show(connection, caller, job_id)
            earlier = replays.reserve(connection, caller, key, kind="retry from failed", asked=job_id)
            if earlier is not None:
                return self._show(connection, caller, ids.encode("job", earlier)), True
            new = job_retries.prepare(connection, caller, job, self.rules)
            created = self.creator.create_all(connection, new)
            idempotency.record(connection, tenant_id=caller.tenant_id, key=key, made=[created[0].id])
        self.publish(created)
        return created[0], False

    def tree(self, caller: Caller, job_id: str) -> Tree:
        """Return the job's tree with its edges. Raise `JobNotFound`."""
        with self._database.connect() as connection:
            found = trees.read(connection, self._show(connection, caller, job_id))
        found = replace(found, jobs=[replace(each, job=self._shown_to(caller, each.job)) for each in found.jobs])
        return found if caller.sees_payloads else found.without_payloads()

    def journal(
        self, caller: Caller, job_id: str, *, after: int | None, limit: int, offset: int = 0
    ) -> tuple[list[ShownEntry], int]:
        """Return entries of a job's journal as the caller may see them, and the total. Raise `JobNotFound`."""
        with self._database.connect() as connection:
            job = self._show(connection, caller, job_id)
            found = journals.entries(connection, job.key, after=after or 0, limit=limit, offset=offset)
            total = journals.count_entries(connection, job.key)
        return [shown_to(caller, entry) for entry in found], total

    def waits(
        self, caller: Caller, job_id: str, *, after: int | None, limit: int, offset: int = 0
    ) -> tuple[list[ShownWait], int]:
        """Return the waits of a job, the latest first, and the total. Raise `JobNotFound`."""
        with self._database.connect() as connection:
            job = self._show(connection, caller, job_id)
            before = job.run_no + 1 if after is None else after
            found = journals.waits(connection, job, before=before, limit=limit, offset=offset)
            return found, journals.count_waits(connection, job)

    def unfinished_of_tree(self, caller: Caller, job_id: str) -> str | None:
        """Return the newest unfinished job of a job's tree; None if all are final. Raise `JobNotFound`."""
        with self._database.connect() as connection:
            job = self._show(connection, caller, job_id)
            if job.tree_id is None:
                return None if job.is_final else job.id
            return trees.unfinished(connection, job)

    def publish(self, created: Sequence[Job]) -> None:
        """Publish the stored jobs that can start now. If the broker is down, they start later."""
        startable = [job for job in created if job.published_at is not None and not job.is_existing]
        self.on_published(startable)
        try:
            self._publisher.publish(startable)
        except BrokerUnavailable as error:
            reason, unsent = "the broker is unreachable", startable
            if isinstance(error, QueueRefused):
                refused = set(error.job_ids)
                reason, unsent = "the broker refuses the queue", [job for job in startable if job.id in refused]
            _log.warning("Publish failed, %s: the dispatcher publishes later", reason, extra={"jobs": len(unsent)})
            with suppress(Exception), self._database.connect() as connection:
                recall.recall_unsent(connection, unsent)

    def show(self, caller: Caller, job_id: str) -> Job:
        """Return a job as the caller may see it. Raise `JobNotFound`."""
        with self._database.connect() as connection:
            job = self._show(connection, caller, job_id)
        return self._shown_to(caller, job)

    def _shown_to(self, caller: Caller, job: Job) -> Job:
        if len(job.input_json) <= _LONG_BYTES:
            return shown_to(caller, job)
        shown: Job = self._run_long(lambda: shown_to(caller, job))
        return shown

    def _show(self, connection: Connection, caller: Caller, job_id: str) -> Job:
        if (job := lists.show(connection, tenant_id=caller.tenant_id, job_id=job_id)) is None:
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
        """Return a page of jobs as the caller may see them, by default newest first, and the total.

        The total is exact up to `counts.MAX_IN_TOTAL`; in a search it counts only the jobs that were searched.
        """
        with self._database.connect() as connection:
            bounds: dict[str, Any] = {"limit": limit, "before_id": before_id, "offset": offset, "sort": sort}
            wanted: dict[str, Any] = {"tenant_id": caller.tenant_id, "job_filter": job_filter}
            found = lists.page(connection, **wanted, **bounds, payloads=payloads)
            total = lists.count(connection, **wanted) if found.total is None else found.total
        return replace(found, jobs=[self._shown_to(caller, job) for job in found.jobs]), total

    def batch(self, caller: Caller, job_filter: JobFilter, *, before_id: str | None) -> JobBatch:
        """Return the next complete jobs of an export, as the caller may see them."""
        with self._database.connect() as connection:
            found = batches.next_jobs(
                connection, tenant_id=caller.tenant_id, job_filter=job_filter, limit=_EXPORT_BATCH, before_id=before_id
            )
        return replace(found, jobs=[self._shown_to(caller, job) for job in found.jobs])

    def logs(self, caller: Caller, job_id: str, wanted: LogRange) -> tuple[Status, FoundLines]:
        """Return a job's status and log lines; none for a caller who may not see payloads. Raise `JobNotFound`."""
        with self._database.connect() as connection:
            status = lists.status(connection, tenant_id=caller.tenant_id, job_id=job_id)
            if status is None:
                raise JobNotFound
            if not caller.sees_payloads:
                return status, FoundLines(lines=[], has_more=False)
            return status, job_logs.log_lines(connection, tenant_id=caller.tenant_id, job_id=job_id, wanted=wanted)

    def runs(
        self, caller: Caller, job_id: str, *, after: int | None, limit: int, offset: int = 0
    ) -> tuple[list[JobRun], int]:
        """Return runs of a job, the oldest first, and the total. Raise `JobNotFound`."""
        after = after or 0
        with self._database.connect() as connection:
            job = self._show(connection, caller, job_id)
            count, last_no = lists.count_runs(connection, job=job.key)
            retained = lists.retained_runs(connection, job=job.key, after=after, limit=limit, offset=offset)
        found = [retained_run(each, job) for each in retained]
        own = None if last_no == job.run_no else own_run(job)
        if own is not None and len(found) < limit and after < own.run_no and offset <= count:
            found.append(own)
        return found, min(count + (own is not None), MAX_IN_TOTAL)

    def cancel(self, caller: Caller, job_id: str) -> Job:
        """Cancel a queued job, or ask a running job's node to stop it; the same for its descendants. Return the job.

        Raise `JobStateConflict` if the job is final, `JobNotFound`.
        """
        with self._database.transaction() as connection:
            found = cancel.cancel_tree(connection, tenant_id=caller.tenant_id, user_id=caller.user_id, job_id=job_id)
            job = next((each for each in found if each.id == job_id), None)
            if job is None:
                final = self._show(connection, caller, job_id)
                raise JobStateConflict(
                    f"The job is already {final.status}; only a queued or running job can be cancelled."
                )
        revoke_all(self._database, self.control, found)
        return job

    def change(self, caller: Caller, job_id: str, change: JobChange) -> tuple[Job, Job]:
        """Change a queued job. Return it before and after.

        A published job returns to the backlog if its priority or date changes. Raise `JobStateConflict` if its state
        forbids the change, `InvalidFields`, `PriorityTooUrgent`, `JobNotFound`.
        """
        if change.priority is not None:
            self.rules.refuse_urgent(caller, [JobSpec(worker_id="", priority=change.priority)])
        with self._database.transaction() as connection:
            before = change_transition.lock(connection, tenant_id=caller.tenant_id, job_id=job_id)
            if before is None:
                raise JobNotFound
            job_change.check(before, change)
            changed = change_transition.change(connection, before, change)
        if changed is None:
            raise JobNotFound
        return before, changed

    def explain(self, caller: Caller, job_id: str, *, node_dead_seconds: float) -> Explanation:
        with self._database.connect() as connection:
            job = self._show(connection, caller, job_id)
            facts = why.read_facts(connection, job, dead_after_seconds=node_dead_seconds)
            facts = replace(
                facts,
                firing=firings.firing_of(connection, job),
                waiting=why.read_waiting(connection, job, tenant_max_running=self.rules.tenant_max_running),
            )
        if not caller.sees_payloads:
            facts = facts.without_payloads()
        return explain(facts if caller.is_operator else facts.without_names())


def _show_all(connection: Connection, caller: Caller, job_ids: Sequence[str]) -> list[Job]:
    found = lists.show_many(connection, tenant_id=caller.tenant_id, job_ids=job_ids)
    if len(found) < len(job_ids):
        raise JobNotFound
    return found
