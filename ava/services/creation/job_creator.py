"""Create jobs in the caller's transaction; no other code does. Each entry gets its job or a refusal."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ava.domain import ids
from ava.domain.access.actor import Actor
from ava.domain.input_schema import InputMismatch
from ava.domain.jobs.graphs import Entry
from ava.domain.jobs.job import Job, JobSpec
from ava.domain.jobs.new_job import UNMATCHED, After, JobOrRefusal, NewJob, TreePosition, origin_text
from ava.domain.jobs.wait_reasons import WaitsFor
from ava.domain.jobs.waits import WaitCondition
from ava.domain.limits.table import TENANT_RUNNING_JOBS
from ava.domain.worker import WorkerStatus
from ava.errors import Contained, DatabaseUnavailable, RequestError, TooMany, WorkerDeprecated, WorkerNotFound
from ava.process.pauses import Pauses
from ava.services.creation import approval_requests, trigger_keys
from ava.services.creation.input_schemas import InputSchemas, Match
from ava.services.creation.quotas import TenantQuotas
from ava.settings import Settings
from ava.store.containments import scopes
from ava.store.engine import clock
from ava.store.engine.database import Connection
from ava.store.fleet import workers
from ava.store.jobs.reads import lists
from ava.store.jobs.transitions import edges, make
from ava.telemetry import tracing

#: The dispatcher publishes further jobs of a call, fairly among tenants.
_MAX_PUBLISHED = 16
#: The dispatcher requests the decisions about further jobs of a call.
_MAX_ASKED = 16
#: The prefixes of the ids of objects that create jobs for the identity that has created them.
_OBJECTS = ("sch_", "hk_", "sub_", "job_")
#: Max seconds of retries while others change the call's workers, or create and end jobs with its keys.
_TRY_SECONDS = 5.0


class JobCreator:
    """Creates jobs: validates their inputs, counts them against their tenants' quotas, and inserts them."""

    def __init__(
        self,
        *,
        schemas: InputSchemas | None = None,
        quota: TenantQuotas | None = None,
        max_published: int = _MAX_PUBLISHED,
    ) -> None:
        """`max_published`: jobs of one `prepare` that the caller publishes."""
        self.schemas = schemas or InputSchemas()
        self._quota = quota or TenantQuotas()
        self._max_published = max_published

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        run_long: Callable[[Callable[[], Any]], Any] = lambda work: work(),
        recounts: bool = False,
    ) -> Self:
        """Return a creator by the settings. For `run_long` see `InputSchemas`, for `recounts` `QueuedJobsQuota`."""
        # The dispatcher publishes the jobs of tenants with a limit; with this setting all tenants have one.
        is_limited = TENANT_RUNNING_JOBS.of(settings) is not None
        return cls(
            schemas=InputSchemas(run_long),
            quota=TenantQuotas.of(settings, recounts=recounts),
            max_published=0 if is_limited else _MAX_PUBLISHED,
        )

    def prepare(
        self, *, tenant_id: str, user_id: str, specs: Sequence[JobSpec], identities: Sequence[Actor] = ()
    ) -> list[NewJob]:
        """Return a user's new jobs, with inputs validated against this process's cached schemas.

        From the first mismatch on, `create` validates the inputs against the current schema. `identities`: as in `Job`;
        none: `user_id`.
        """
        matches = self.schemas.matches(tenant_id, specs, until_first=True)
        traceparent = tracing.current()
        return [
            NewJob(
                tenant_id=tenant_id,
                user_id=user_id,
                spec=spec,
                schema_version=UNMATCHED if isinstance(match, InputMismatch) else match,
                may_publish=position < self._max_published,
                traceparent=traceparent,
                origin_text=origin_text(user_id, [*identities, *spec.behind_retried]),
            )
            for position, (spec, match) in enumerate(zip(specs, matches, strict=True))
        ]

    def create(self, connection: Connection, new: Sequence[NewJob], *, in_part: bool = True) -> list[JobOrRefusal]:
        """Return for each entry its job, or the reason for its refusal. The job may be an earlier one with its key.

        `in_part`: if a tenant's quota does not admit all of its jobs, create the first ones; otherwise none. Jobs with
        keys need a transaction.
        """
        call = _Call(connection=connection, schemas=self.schemas, quota=self._quota, in_part=in_part)
        return call.run(new)

    def create_all(self, connection: Connection, new: Sequence[NewJob]) -> list[Job]:
        """Create all jobs or none. Raise the first refusal, which must end the transaction."""
        call = _Call(connection=connection, schemas=self.schemas, quota=self._quota, in_part=False, is_whole=True)
        return [outcome for outcome in call.run(new) if isinstance(outcome, Job)]

    def check(self, connection: Connection, *, tenant_id: str, spec: JobSpec) -> None:
        """Raise the reason why a job would be refused now, apart from its priority and its tenant's quota."""
        statuses = self.schemas.refresh(connection, tenant_id, [spec.worker_id])
        (match,) = self.schemas.matches(tenant_id, [spec])
        if (refusal := _refusal(statuses.get(spec.worker_id), match)) is not None:
            raise refusal

    def check_worker(self, connection: Connection, *, tenant_id: str, worker_id: str) -> None:
        """Raise `WorkerNotFound` or `WorkerDeprecated` if the tenant may not run the worker now."""
        statuses = self.schemas.refresh(connection, tenant_id, [worker_id])
        if (refusal := _refusal(statuses.get(worker_id), None)) is not None:
            raise refusal

    def admit_bytes(self, connection: Connection, *, tenant_id: str, size: int) -> None:
        """Count bytes that are stored outside of jobs. Raise `TooMany` if the tenant's quota does not admit them."""
        if self._quota.stored_bytes.admit(connection, tenant_id, [size]) == 0:
            raise self._quota.stored_bytes.refusal(tenant_id)


@dataclass(kw_only=True, slots=True)
class _Call:
    connection: Connection
    schemas: InputSchemas
    quota: TenantQuotas
    in_part: bool
    #: Whether to raise the first refusal.
    is_whole: bool = False
    left: dict[int, NewJob] = field(default_factory=dict)
    outcomes: dict[int, JobOrRefusal] = field(default_factory=dict)
    #: Entries that are already counted against the quotas, of queued jobs (False) and of waiting ones (True).
    admitted: set[tuple[int, bool]] = field(default_factory=set)
    #: A call may create a thousand jobs, each with edges, so it pauses in between.
    pauses: Pauses = field(default_factory=Pauses)
    #: Entries that have replaced an earlier job with their key.
    replacing: set[int] = field(default_factory=set)
    #: The active containments (UUIDs) with which the jobs in `left` were compared.
    checked: Collection[str] = ()

    def run(self, new: Sequence[NewJob]) -> list[JobOrRefusal]:
        self.left = dict(enumerate(new))
        keyed = [entry for entry, each in self.left.items() if each.spec.key is not None]
        if keyed:
            self._settle(trigger_keys.repeated(self._part(keyed)))
        if unmatched := {entry: each for entry, each in self.left.items() if each.schema_version == UNMATCHED}:
            self._compare_again(unmatched)
        ends = time.monotonic() + _TRY_SECONDS
        while self.left:
            self._try(keyed)
            if self.left:
                self._compare_again(self.left)
                self._compare_with_containments()
                if self.left and time.monotonic() > ends:
                    raise DatabaseUnavailable(
                        "Too many concurrent triggers with one key, or changes of its worker; try again shortly."
                    )
        return [self.outcomes[entry] for entry in range(len(new))]

    def _try(self, keyed: Sequence[int]) -> None:
        """Create the jobs that can be created now. Jobs that another transaction blocks stay in `left`."""
        if keyed:
            self._settle(trigger_keys.defer_debounced(self.connection, self._part(keyed), self.checked))
        self._admit()
        if keyed:
            replacing = trigger_keys.cancel_replaced(self.connection, self._part(keyed), self.checked)
            self.replacing.update(replacing)
            self._settle(replacing)
        stored = make.insert(self.connection, list(self.left.values()), checked=self.checked) if self.left else []
        created = {entry: job for entry, job in zip(self.left, stored, strict=True) if job is not None}
        self._ask(created)
        self.pauses.after_work()
        if any(self.left[entry].after for entry in created):
            self._mark_awaited()
            waiting = edges.declare(self.connection, [(self.left[entry], job) for entry, job in created.items()])
            created = dict(zip(created, waiting, strict=True))
            self.pauses.after_work()
        if keyed:
            trigger_keys.start_debounced(self.connection, self._part(keyed), created)
        self._settle(created)
        if keyed and self.left:
            self._settle(trigger_keys.find_earlier(self.connection, self._part(keyed), self.checked))

    def _ask(self, created: dict[int, Job]) -> None:
        """Request the decisions that the first of these jobs need; the dispatcher does the same for the others."""
        waiting = [entry for entry, job in created.items() if job.waits_for is WaitsFor.APPROVAL][:_MAX_ASKED]
        if not waiting:
            return
        keys = [(created[entry].tenant_id, str(ids.decode("job", created[entry].id))) for entry in waiting]
        approval_requests.ask(self.connection, keys)
        for entry in waiting:
            job = created[entry]
            (created[entry],) = lists.show_many(self.connection, tenant_id=job.tenant_id, job_ids=[job.id])

    def _part(self, entries: Iterable[int]) -> dict[int, NewJob]:
        """Return the given entries that are still left, in their current form."""
        return {entry: self.left[entry] for entry in entries if entry in self.left}

    def _admit(self) -> None:
        """Count each job once against its tenant's quotas. One that may wait for an approval counts for both kinds."""
        uncounted: dict[tuple[str, bool], list[int]] = defaultdict(list)
        for entry, each in self.left.items():
            for are_waiting in (True,) if each.after is not None else (False, True) if each.asks else (False,):
                if (entry, are_waiting) not in self.admitted:
                    uncounted[each.tenant_id, are_waiting].append(entry)
        for (tenant_id, are_waiting), counted in uncounted.items():
            entries = [entry for entry in counted if entry in self.left]
            sizes = [len(self.left[entry].spec.input_json) for entry in entries]
            taken, refusal = self.quota.admit(
                self.connection, tenant_id, sizes, in_part=self.in_part, are_waiting=are_waiting
            )
            self.admitted.update((entry, are_waiting) for entry in entries[:taken])
            if refusal is not None:
                # A separate error per entry, because several threads may raise them.
                seconds = refusal.retry_after_seconds
                self._settle({entry: TooMany(str(refusal), retry_after_seconds=seconds) for entry in entries[taken:]})

    def _mark_awaited(self) -> None:
        """Mark earlier jobs that new ones wait for, so that their end writes a wake-up. The insert marks new jobs."""
        own = {each.uuid for each in self.left.values() if each.position is not None and each.position.is_awaited}
        earlier = {
            (each.tenant_id, uuid)
            for each in self.left.values()
            if each.after is not None
            for uuid in each.after.uuids
            if uuid not in own
        }
        if earlier:
            edges.mark_awaited(self.connection, sorted(earlier))

    def _compare_again(self, entries: Mapping[int, NewJob]) -> None:
        """Read the workers of jobs that were not inserted: the worker refuses jobs, or its schema has changed."""
        by_tenant: dict[str, dict[int, NewJob]] = defaultdict(dict)
        for entry, each in entries.items():
            by_tenant[each.tenant_id][entry] = each
        for tenant_id, of_tenant in by_tenant.items():
            specs = [each.spec for each in of_tenant.values()]
            statuses = self.schemas.refresh(self.connection, tenant_id, {spec.worker_id for spec in specs})
            matches = self.schemas.matches(tenant_id, specs, until_first=self.is_whole)
            asking = workers.asking(self.connection, tenant_id=tenant_id, worker_ids={spec.worker_id for spec in specs})
            for (entry, each), match in zip(of_tenant.items(), matches, strict=True):
                refusal = _refusal(statuses.get(each.spec.worker_id), match)
                version = None if isinstance(match, InputMismatch) else match
                may_ask = each.spec.worker_id in asking
                self._settle({entry: refusal or replace(each, schema_version=version, may_ask=may_ask)})

    def _compare_with_containments(self) -> None:
        """Refuse or hold the jobs that active containments cover.

        Children are held, because their parent runs, and so are jobs that have replaced one before the containment.
        """
        tenants = {each.tenant_id for each in self.left.values()}
        self.checked = scopes.active_of(self.connection, tenants) if tenants else ()
        if not self.checked:
            return
        entries = list(self.left.items())
        found = scopes.covering(self.connection, [_facts(each) for _, each in entries])
        for position, verdict in found.items():
            entry, each = entries[position]
            is_child = each.position is not None and each.position.parent_uuid is not None
            is_refused = verdict.refuses and not is_child and entry not in self.replacing
            held = replace(each, is_held=True, may_publish=False)
            self._settle({entry: Contained(verdict.containment_id) if is_refused else held})

    def _settle(self, outcomes: Mapping[int, JobOrRefusal | NewJob]) -> None:
        """Store outcomes and changed entries. Raise the first refusal if all jobs must be created."""
        for entry, outcome in sorted(outcomes.items()):
            if isinstance(outcome, NewJob):
                self.left[entry] = outcome
                continue
            if self.is_whole and isinstance(outcome, RequestError):
                outcome.entry = entry
                raise outcome
            self.outcomes[entry] = outcome
            del self.left[entry]


def _facts(new: NewJob) -> scopes.NewJobFacts:
    return scopes.NewJobFacts(
        tenant_id=new.tenant_id,
        worker_id=new.spec.worker_id,
        uuid=new.uuid,
        tree_uuid=None if new.position is None else new.position.tree_uuid,
        tags_json=new.spec.tags_json,
        origins=new.origin_text or new.user_id,
        is_own=not new.user_id.startswith(_OBJECTS),
    )


def _refusal(status: WorkerStatus | None, match: Match) -> RequestError | None:
    """Return why a worker refuses a job; None if it accepts. `status` is None if the tenant cannot see the worker."""
    if status is None:
        return WorkerNotFound()
    if status is WorkerStatus.DEPRECATED:
        return WorkerDeprecated()
    return match if isinstance(match, InputMismatch) else None


def arrange(connection: Connection, new: Sequence[NewJob]) -> list[NewJob]:
    """Reserve ids for the jobs of a bulk; give graph entries their tree position and their predecessors.

    The first entry with a name or predecessors gives the graph its id.
    """
    uuids = clock.new_uuids(connection, len(new))
    tree_uuid = next((uuid for each, uuid in zip(new, uuids, strict=True) if each.spec.entry is not None), None)
    if tree_uuid is None:
        return [*new]
    named = {entry.name: uuid for each, uuid in zip(new, uuids, strict=True) if (entry := each.spec.entry) is not None}
    awaited = {name for each in new if each.spec.entry is not None for name in each.spec.entry.after}
    return [
        each
        if each.spec.entry is None
        else replace(
            each,
            uuid=uuid,
            position=TreePosition(
                tree_uuid=tree_uuid, name=each.spec.entry.name, is_awaited=each.spec.entry.name in awaited
            ),
            after=_after(each.spec.entry, named),
        )
        for each, uuid in zip(new, uuids, strict=True)
    ]


def _after(entry: Entry, named: dict[str | None, str]) -> After | None:
    if not entry.after:
        return None
    uuids = tuple(named[name] for name in entry.after)
    return After(uuids=uuids, condition=WaitCondition(entry.when), has_template=entry.has_references)
