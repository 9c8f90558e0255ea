"""Use cases of containments: create, rehearse, show, list and lift."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace

from ava.domain import ids
from ava.domain.access.caller import Caller
from ava.domain.containment import (
    ALL_TENANTS,
    ContainedJobs,
    ContainedScope,
    Containment,
    ContainmentProofs,
    ContainmentSpec,
    ContainmentState,
    HeldJobs,
    Rehearsal,
)
from ava.domain.counts import PageBounds
from ava.domain.jobs.bulk_operation import BulkKind, BulkOperation
from ava.domain.jobs.job_filter import JobFilter
from ava.domain.jobs.wait_reasons import WaitsFor
from ava.domain.limits.table import ACTIVE_CONTAINMENTS
from ava.errors import Contained, ContainmentConflict, ContainmentNotFound, ContainmentsFull, Forbidden, OperatorsOnly
from ava.services import replays
from ava.services.signing import ContainmentSigner
from ava.store.access import api_keys
from ava.store.containments import records, scopes
from ava.store.engine.database import Connection, Database
from ava.store.jobs import bulk_operations, idempotency
from ava.store.jobs.reads.batches import JobBatch

#: Why there is no proof of a containment that should have one.
_NO_KEY = "There is no proof, because no signing key could be read when it was due; see `ava doctor`."
#: Seconds between two polls of a containment. All streams of a process share each read.
_POLL_SECONDS = 0.5
#: A shared read is forgotten after this many seconds without use.
_WATCHED_SECONDS = 30.0
#: Jobs per statement of an export.
_EXPORT_BATCH = 500


@dataclass(kw_only=True)
class _Watched:
    """A containment that streams follow, and the time of its last read."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    found: Containment | None = None
    read_at: float = field(default_factory=time.monotonic)


class Containments:
    """Use cases of containments. The dispatcher carries them out."""

    def __init__(self, database: Database, signer: ContainmentSigner) -> None:
        self._database = database
        self._signer = signer
        self._watched: dict[tuple[str, bool, str], _Watched] = {}

    def create(self, caller: Caller, spec: ContainmentSpec, *, key: str | None = None) -> tuple[Containment, bool]:
        """Create a containment. Return it, and True for a repeated call.

        Raise `OperatorsOnly` for all tenants, `ContainmentsFull`, `IdempotencyKeyReused`.
        """
        _check_scope(caller, spec.scope)
        with self._database.transaction() as connection:
            asked = asdict(spec)
            if (earlier := replays.reserve(connection, caller, key, kind="containment", asked=asked)) is not None:
                return self._show(connection, caller, ids.encode("con", earlier)), True
            max_containments = ACTIVE_CONTAINMENTS.value
            if not records.has_capacity(connection, tenant_id=spec.scope.tenant_id, max_containments=max_containments):
                sentence = f"There are {max_containments} active containments already; lift one first."
                raise ContainmentsFull(ACTIVE_CONTAINMENTS.message(sentence))
            spec = replace(spec, scope=_with_keys(connection, spec.scope))
            created = records.create(connection, spec, by=caller.actor)
            idempotency.record(connection, tenant_id=caller.tenant_id, key=key, made=[created.id])
        return self.show(caller, created.id), False

    def rehearse(self, caller: Caller, spec: ContainmentSpec) -> Rehearsal:
        """Return the jobs that a containment would hold and stop. Raise `OperatorsOnly`."""
        _check_scope(caller, spec.scope)
        with self._database.connect() as connection:
            return scopes.rehearse(connection, _with_keys(connection, spec.scope))

    def refuse_contained(self, caller: Caller) -> None:
        """Raise `Contained` if a containment of the caller's identity is active: it may write nothing."""
        identity_id = caller.actor.id
        with self._database.connect() as connection:
            found = scopes.of_identity(connection, tenant_id=caller.tenant_id, identity_id=identity_id or "")
        if found is not None:
            raise Contained(found)

    def show(self, caller: Caller, containment_id: str) -> Containment:
        """Return a containment with its running jobs. Raise `ContainmentNotFound`."""
        with self._database.connect() as connection:
            return self._show(connection, caller, containment_id)

    def follow(self, caller: Caller, containment_id: str) -> Iterator[Containment]:
        """Yield a containment at every poll until it is complete or no longer active. Raise `ContainmentNotFound`."""
        found = self.show(caller, containment_id)
        while found.is_active and found.complete_at is None:
            yield found
            time.sleep(_POLL_SECONDS)
            found = self._read_together(caller, containment_id)
        yield found

    def _read_together(self, caller: Caller, containment_id: str) -> Containment:
        """Return a containment that another stream of this process may have read within the last poll."""
        now = time.monotonic()
        self._watched = {key: each for key, each in self._watched.items() if now - each.read_at < _WATCHED_SECONDS}
        key = (caller.tenant_id, caller.is_operator, containment_id)
        watched = self._watched.setdefault(key, _Watched())
        with watched.lock:
            if watched.found is None or time.monotonic() - watched.read_at > _POLL_SECONDS:
                watched.found, watched.read_at = self.show(caller, containment_id), time.monotonic()
            return watched.found

    def page(
        self, caller: Caller, *, state: ContainmentState | None, bounds: PageBounds
    ) -> tuple[list[Containment], int]:
        """Return containments of the caller's tenant and of all tenants, newest first, and the total."""
        with self._database.connect() as connection:
            found, total = records.page(connection, tenant_id=caller.tenant_id, state=state, bounds=bounds)
            return [self._with_running(connection, caller, each) for each in found], total

    def jobs(self, caller: Caller, containment_id: str, *, bounds: PageBounds) -> ContainedJobs:
        """Return the jobs that a containment holds or has stopped. Raise `ContainmentNotFound`, `OperatorsOnly`."""
        with self._database.connect() as connection:
            return scopes.page(connection, self._visible(connection, caller, containment_id), bounds=bounds)

    def batch(self, caller: Caller, containment_id: str, *, before_id: str | None) -> JobBatch:
        """Return the next jobs of an export, newest first. Raise `ContainmentNotFound`, `OperatorsOnly`."""
        with self._database.connect() as connection:
            found = self._visible(connection, caller, containment_id)
            jobs = scopes.jobs(connection, found, bounds=PageBounds(limit=_EXPORT_BATCH, after_id=before_id))
        return JobBatch(jobs=jobs, before_id=jobs[-1].id if len(jobs) == _EXPORT_BATCH else None)

    def _visible(self, connection: Connection, caller: Caller, containment_id: str) -> Containment:
        """Return a containment if the caller may see its jobs. Raise `ContainmentNotFound`, `OperatorsOnly`."""
        found = records.show(connection, tenant_id=caller.tenant_id, containment_id=containment_id)
        if found is None:
            raise ContainmentNotFound
        _check_scope(caller, found.scope)
        return found

    def proofs(self, caller: Caller, containment_id: str) -> ContainmentProofs:
        """Return the signed records of a containment.

        Raise `ContainmentNotFound`, `OperatorsOnly`, and `ContainmentConflict` if there are none.
        """
        with self._database.connect() as connection:
            found = self._visible(connection, caller, containment_id)
            proofs = records.proofs(connection, found)
        if proofs.complete is None and proofs.lifted is None:
            is_due = found.complete_at is not None or not found.is_active
            raise ContainmentConflict(_NO_KEY) if is_due else ContainmentConflict()
        return proofs

    def lift(self, caller: Caller, containment_id: str, held: HeldJobs, *, request_id: str) -> BulkOperation:
        """Lift a containment: new triggers are accepted, and an operation releases or cancels the held jobs.

        Raise `ContainmentNotFound`, `ContainmentConflict`, `Forbidden` if a platform role created it.
        """
        with self._database.transaction() as connection:
            found = records.show(connection, tenant_id=caller.tenant_id, containment_id=containment_id, locks=True)
            if found is None:
                raise ContainmentNotFound
            if found.by.is_operator and not caller.is_operator:
                raise Forbidden("A platform role created this containment; only a platform role lifts it.")
            ended = self._signer.end(connection, found, by=caller.actor)
            if ended is None:
                raise ContainmentConflict(f"The containment is not active any more; it was {found.state}.")
            return bulk_operations.create(
                connection,
                caller,
                kind=BulkKind.LIFT,
                job_filter=JobFilter(waits_for=WaitsFor.CONTAINED),
                total=ended.held_count,
                request_id=request_id,
                containment_id=containment_id,
                cancels_held=held is HeldJobs.CANCEL,
            )

    def _show(self, connection: Connection, caller: Caller, containment_id: str) -> Containment:
        found = records.show(connection, tenant_id=caller.tenant_id, containment_id=containment_id)
        if found is None:
            raise ContainmentNotFound
        return self._with_running(connection, caller, found)

    def _with_running(self, connection: Connection, caller: Caller, found: Containment) -> Containment:
        """Return a containment with its running jobs; of all tenants only for operators, and counts neither."""
        if found.tenant_id == ALL_TENANTS and not caller.is_operator:
            return replace(found, held_count=0, stopped_count=0)
        if found.complete_at is not None or not found.is_active:
            return found
        running, count = scopes.show_running(connection, found.scope, dead_after_seconds=self._signer.node_dead_seconds)
        if not caller.is_operator:
            # A node's name contains its host.
            running = [replace(each, node=None) for each in running]
        return replace(found, running=running, running_count=count)


def _with_keys(connection: Connection, scope: ContainedScope) -> ContainedScope:
    """Return a scope with the keys of its identity, in the transaction that creates the containment.

    No key is created at the same time.
    """
    if scope.identity_id is None:
        return scope
    api_keys.lock(connection, tenant_id=scope.tenant_id)
    found = api_keys.keys_of(connection, tenant_id=scope.tenant_id, identity_id=scope.identity_id)
    return replace(scope, identity_ids=(scope.identity_id, *(each for each in found if each != scope.identity_id)))


def _check_scope(caller: Caller, scope: ContainedScope) -> None:
    if scope.tenant_id == ALL_TENANTS and not caller.is_operator:
        raise OperatorsOnly
