"""Create children: the jobs that a handler triggers."""

from __future__ import annotations

from collections.abc import Sequence

from ava.domain import ids
from ava.domain.input_schema import InputMismatch
from ava.domain.jobs import priority
from ava.domain.jobs.job import Job, JobSpec, Trigger
from ava.domain.jobs.new_job import UNMATCHED, NewJob, TreePosition
from ava.domain.jobs.waits import ChildState, EntryState, JournalKind, NewChild, NewEntry
from ava.domain.limits.table import TREE_DEPTH, TREE_JOBS
from ava.errors import ChildrenRefused, RunStopped, required
from ava.services.creation.job_creator import JobCreator
from ava.services.creation.quotas import TriggerRules
from ava.store.engine.database import Connection
from ava.store.jobs import journal
from ava.store.jobs.transitions import edges


class ChildCreator:
    def __init__(self, *, creator: JobCreator, rules: TriggerRules) -> None:
        self._creator = creator
        self._rules = rules

    def create(
        self, connection: Connection, job: Job, *, claim_id: str | None, new: Sequence[NewChild]
    ) -> list[ChildState]:
        """Create children of a job's run, all or none, with their journal entries, in a transaction.

        Return the children's states. Raise `RunStopped` if the run has lost its job or will be cancelled,
        `ChildrenRefused` if its tree would have too many jobs, and the first child's refusal.
        """
        tree_uuid = required(edges.enter_tree(connection, run=job.run, claim_id=claim_id), RunStopped)
        self._check_capacity(connection, job, tree_uuid, len(new))
        created = self._creator.create_all(connection, self._prepare(job, tree_uuid, new))
        entries = [
            NewEntry(kind=JournalKind.CHILD, name=each.name, state=EntryState.DONE, child_id=child.id)
            for each, child in zip(new, created, strict=True)
        ]
        journal.write(connection, run=job.run, claim_id=claim_id, attempt=job.attempt, entries=entries)
        return [ChildState(id=child.id, worker_id=child.worker_id, status=child.status) for child in created]

    def _check_capacity(self, connection: Connection, job: Job, tree_uuid: str, count: int) -> None:
        tree = edges.read_tree_size(
            connection, run=job.run, tree_uuid=tree_uuid, max_depth=TREE_DEPTH.value, max_jobs=TREE_JOBS.value
        )
        # `tree.jobs` includes the root; the limit does not.
        left = TREE_JOBS.value - (tree.jobs - 1)
        if count > left:
            raise ChildrenRefused(
                TREE_JOBS.message(f"A tree has at most {TREE_JOBS.value:,} jobs below its root, {left:,} more here.")
            )
        if tree.depth >= TREE_DEPTH.value:
            raise ChildrenRefused(TREE_DEPTH.message(f"The job tree would be deeper than {TREE_DEPTH.value} levels."))

    def _prepare(self, job: Job, tree_uuid: str, new: Sequence[NewChild]) -> list[NewJob]:
        specs = [self._spec(job, each) for each in new]
        matches = self._creator.schemas.matches(job.tenant_id, specs, until_first=True)
        parent_uuid = str(ids.decode("job", job.id))
        return [
            NewJob(
                tenant_id=job.tenant_id,
                user_id=job.id,
                spec=spec,
                schema_version=UNMATCHED if isinstance(match, InputMismatch) else match,
                # Nodes publish nothing.
                may_publish=False,
                traceparent=job.traceparent,
                position=TreePosition(
                    tree_uuid=tree_uuid,
                    parent_uuid=parent_uuid,
                    name=each.name,
                    is_detached=each.is_detached,
                    is_awaited=True,
                ),
                origin_text=job.origin_text or job.triggered_by,
            )
            for spec, match, each in zip(specs, matches, new, strict=True)
        ]

    def _spec(self, job: Job, new: NewChild) -> JobSpec:
        # The priority may be as urgent as the job's, or as the tenant's roles allow.
        most_urgent = min(job.priority, self._rules.most_urgent)
        wanted = job.priority if new.priority is None else new.priority
        return JobSpec(
            worker_id=new.worker_id,
            input_json=new.input_json,
            trigger=Trigger.EVENT,
            priority=min(max(wanted, most_urgent), priority.LAST),
            tags_json=job.tags_json,
        )
