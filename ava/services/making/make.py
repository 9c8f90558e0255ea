"""The one way to make jobs, in a transaction of the caller. Each entry gets its job, or the reason of its refusal."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ava import tracing
from ava.domain.input_schema import InputMismatch
from ava.domain.jobs.job import Job, JobSpec
from ava.domain.jobs.new_job import UNMATCHED, UNRESOLVED, JobOrRefusal, NewJob
from ava.domain.limits.table import TENANT_RUNNING_JOBS
from ava.domain.worker import WorkerStatus
from ava.errors import DatabaseUnavailable, RequestError, TooMany, WorkerDeprecated, WorkerNotFound
from ava.services.making import trigger_keys
from ava.services.making.input_schemas import InputSchemas, Match
from ava.services.making.quotas import TenantQuotas
from ava.settings import Settings
from ava.store.engine.database import Connection
from ava.store.jobs.moves import edges, make

#: The jobs of one call that are published at once. The dispatcher publishes the others, in the tenants' turns.
_MAX_PUBLISHED = 16
#: Seconds for which a call tries again while others change its workers, or make and end jobs of its keys.
_TRY_SECONDS = 5.0

#: Jobs that are still to be made, by their positions in the call.
_Entries = Mapping[int, NewJob]


class Making:
    """Makes jobs: compares their inputs, counts them against the quotas of their tenants, and inserts them."""

    def __init__(
        self,
        *,
        schemas: InputSchemas | None = None,
        quota: TenantQuotas | None = None,
        max_published: int = _MAX_PUBLISHED,
    ) -> None:
        """`max_published`: the jobs of one `prepare` that the caller publishes; the dispatcher publishes the others."""
        #: What the process knows of the schemas of workers.
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
        """Returns a making with what the settings name.

        `run_long` is that of `InputSchemas`, `recounts` that of `QueuedJobsQuota`.
        """
        # The dispatcher publishes the jobs of tenants with a limit, and all have one if the settings name it.
        is_limited = TENANT_RUNNING_JOBS.of(settings) is not None
        return cls(
            schemas=InputSchemas(run_long),
            quota=TenantQuotas.of(settings, recounts=recounts),
            max_published=0 if is_limited else _MAX_PUBLISHED,
        )

    def prepare(self, *, tenant_id: str, user_id: str, specs: Sequence[JobSpec]) -> list[NewJob]:
        """Returns the jobs of a user, their inputs compared with the schemas that this process knows.

        The first input that mismatches, and those after it, are compared with the present schema when they are made.
        """
        matches = _match(self.schemas, tenant_id, specs, until_first=True)
        traceparent = tracing.current()
        return [
            NewJob(
                tenant_id=tenant_id,
                user_id=user_id,
                spec=spec,
                schema_version=UNMATCHED if isinstance(match, InputMismatch) else match,
                may_publish=position < self._max_published,
                traceparent=traceparent,
            )
            for position, (spec, match) in enumerate(zip(specs, matches, strict=True))
        ]

    def make(self, connection: Connection, new: Sequence[NewJob], *, in_part: bool = True) -> list[JobOrRefusal]:
        """Returns for each entry its job, or the reason why it is refused. The job may be an earlier one of its key.

        `in_part`: of a tenant that may not have so many jobs more, the first ones are made; else none of them. Jobs
        with keys need a transaction. Raises `DatabaseUnavailable`.
        """
        call = _Call(connection=connection, schemas=self.schemas, quota=self._quota, in_part=in_part)
        return call.run(new)

    def check_worker(self, connection: Connection, *, tenant_id: str, worker_id: str) -> None:
        """Raises `WorkerNotFound` or `WorkerDeprecated` if the tenant may not run a worker now."""
        statuses = self.schemas.refresh(connection, tenant_id, [worker_id])
        if (refusal := _refusal(statuses.get(worker_id), None)) is not None:
            raise refusal

    def admit_bytes(self, connection: Connection, *, tenant_id: str, size: int) -> None:
        """Count bytes that are stored beside jobs against the quota. Raises `TooMany` if the tenant has no room."""
        if self._quota.stored_bytes.admit(connection, tenant_id, [size]) == 0:
            raise self._quota.stored_bytes.refusal(tenant_id)

    def make_all(self, connection: Connection, new: Sequence[NewJob]) -> list[Job]:
        """Make jobs, all or none. Raises the reason why the first is refused, which must end the transaction."""
        call = _Call(connection=connection, schemas=self.schemas, quota=self._quota, in_part=False, is_whole=True)
        return [outcome for outcome in call.run(new) if isinstance(outcome, Job)]

    def check(self, connection: Connection, *, tenant_id: str, spec: JobSpec) -> None:
        """Raises the reason why a job would be refused now, apart from its priority and its tenant's quota."""
        statuses = self.schemas.refresh(connection, tenant_id, [spec.worker_id])
        (match,) = self.schemas.matches(tenant_id, [spec])
        refusal = _refusal(statuses.get(spec.worker_id), match)
        if refusal is not None:
            raise refusal


@dataclass(kw_only=True, slots=True)
class _Call:
    """One call of `make`."""

    connection: Connection
    schemas: InputSchemas
    quota: TenantQuotas
    in_part: bool
    #: Whether the first refusal is raised.
    is_whole: bool = False
    left: dict[int, NewJob] = field(default_factory=dict)
    outcomes: dict[int, JobOrRefusal] = field(default_factory=dict)
    #: The entries that count against the quotas already.
    admitted: set[int] = field(default_factory=set)

    def run(self, new: Sequence[NewJob]) -> list[JobOrRefusal]:
        """Returns for each entry what becomes of it."""
        self.left = dict(enumerate(new))
        self._settle(trigger_keys.repeated(self.left))
        self._look({entry: each for entry, each in self.left.items() if each.schema_version == UNMATCHED})
        ends = time.monotonic() + _TRY_SECONDS
        while self.left:
            self._try()
            if self.left and time.monotonic() > ends:
                raise DatabaseUnavailable(
                    "Too many triggers of one key, or changes of its worker, at once; try again shortly."
                )
        return [self.outcomes[entry] for entry in range(len(new))]

    def _try(self) -> None:
        """Make what can be made now. What another transaction is to blame for is left for the next try."""
        keyed = {entry: each for entry, each in self.left.items() if each.spec.key is not None}
        if keyed:
            self._settle(trigger_keys.move_debounced(self.connection, keyed))
        self._admit()
        if keyed:
            self._settle(trigger_keys.cancel_replaced(self.connection, self._part(keyed)))
        stored = make.insert(self.connection, list(self.left.values())) if self.left else []
        made = {entry: job for entry, job in zip(self.left, stored, strict=True) if job is not None}
        if any(self.left[entry].after for entry in made):
            self._mark_awaited()
            waiting = edges.declare(self.connection, [(self.left[entry], job) for entry, job in made.items()])
            made = dict(zip(made, waiting, strict=True))
        if keyed:
            trigger_keys.start_debounced(self.connection, self._part(keyed), made)
        self._settle(made)
        if self.left and keyed:
            self._settle(trigger_keys.find_earlier(self.connection, self._part(keyed)))
        self._look(self.left)

    def _mark_awaited(self) -> None:
        """Have the jobs that new ones wait for write a wake when they end, but for those that are made to do so."""
        own = {each.uuid for each in self.left.values() if each.place is not None and each.place.is_awaited}
        earlier = {
            (each.tenant_id, uuid)
            for each in self.left.values()
            if each.after is not None
            for uuid in each.after.uuids
            if uuid not in own
        }
        if earlier:
            edges.mark_awaited(self.connection, sorted(earlier))

    def _part(self, entries: Iterable[int]) -> dict[int, NewJob]:
        """Returns those of the entries that are left, as they are now."""
        return {entry: self.left[entry] for entry in entries if entry in self.left}

    def _admit(self) -> None:
        """Count the jobs against the quotas of their tenants, each once."""
        for tenant_id, entries in _by_tenant(self.left).items():
            counted = [entry for entry in entries if entry not in self.admitted]
            self._admit_of(tenant_id, [entry for entry in counted if entries[entry].after is None], are_waiting=False)
            self._admit_of(tenant_id, [entry for entry in counted if entries[entry].after], are_waiting=True)

    def _admit_of(self, tenant_id: str, counted: Sequence[int], *, are_waiting: bool) -> None:
        if counted:
            sizes = [len(self.left[entry].spec.input_json) for entry in counted]
            taken, refusal = self.quota.admit(
                self.connection, tenant_id, sizes, in_part=self.in_part, are_waiting=are_waiting
            )
            self.admitted.update(counted[:taken])
            if refusal is not None:
                # Each has an error of its own, because several threads may raise them.
                seconds = refusal.retry_after_seconds
                self._settle({entry: TooMany(str(refusal), retry_after_seconds=seconds) for entry in counted[taken:]})

    def _look(self, entries: _Entries) -> None:
        """Read the workers of jobs that were not stored: they refuse the jobs, or the inputs are compared again."""
        for tenant_id, those in _by_tenant(entries).items():
            specs = [each.spec for each in those.values()]
            statuses = self.schemas.refresh(self.connection, tenant_id, {spec.worker_id for spec in specs})
            matches = _match(self.schemas, tenant_id, specs, until_first=self.is_whole)
            for (entry, each), match in zip(those.items(), matches, strict=True):
                refusal = _refusal(statuses.get(each.spec.worker_id), match)
                version = None if isinstance(match, InputMismatch) else match
                self._settle({entry: refusal or replace(each, schema_version=version)})

    def _settle(self, outcomes: Mapping[int, JobOrRefusal | NewJob]) -> None:
        """Take outcomes, and entries that have changed. Raises the first refusal if all jobs are to be made."""
        for entry, outcome in sorted(outcomes.items()):
            if isinstance(outcome, NewJob):
                self.left[entry] = outcome
                continue
            if self.is_whole and isinstance(outcome, RequestError):
                outcome.entry = entry
                raise outcome
            self.outcomes[entry] = outcome
            del self.left[entry]


def _match(schemas: InputSchemas, tenant_id: str, specs: Sequence[JobSpec], *, until_first: bool) -> list[Match]:
    """Returns what `InputSchemas.matches` does. An input with references is compared once the outputs are known."""
    are_whole = [spec.entry is None or not spec.entry.has_references for spec in specs]
    whole = [spec for spec, is_whole in zip(specs, are_whole, strict=True) if is_whole]
    matches = iter(schemas.matches(tenant_id, whole, until_first=until_first))
    return [next(matches) if is_whole else UNRESOLVED for is_whole in are_whole]


def _by_tenant(entries: _Entries) -> dict[str, dict[int, NewJob]]:
    found: dict[str, dict[int, NewJob]] = defaultdict(dict)
    for entry, each in entries.items():
        found[each.tenant_id][entry] = each
    return found


def _refusal(status: WorkerStatus | None, match: Match) -> RequestError | None:
    """Returns why a worker of a status, None if the tenant sees none, refuses a job; None if it takes it."""
    if status is None:
        return WorkerNotFound()
    if status is WorkerStatus.DEPRECATED:
        return WorkerDeprecated()
    return match if isinstance(match, InputMismatch) else None
