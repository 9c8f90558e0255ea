"""The database-backed journal of a run: its entries, and the children of its job."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ava.domain.approval import ApprovalRequest
from ava.domain.events.awaited import AwaitedEvent
from ava.domain.jobs.waits import ChildState, JournalKind, NewChild, NewEntry
from ava.errors import RequestError, RunStopped
from ava.handler.errors import ChildRefused, JobCancelled, JobInterrupted, TooManyWaiting
from ava.node.outcome import Stop
from ava.node.process_tree import BLOCKABLE_SIGNALS
from ava.node.runs.run import Run
from ava.node.runs.run_writer import HOLD_SECONDS, persist
from ava.services.events.awaiting_jobs import search_event
from ava.settings import Settings
from ava.store.engine.database import Connection, Database
from ava.store.jobs import approvals, journal
from ava.store.jobs.transitions import claim

if TYPE_CHECKING:
    from ava.services.creation.child_creator import ChildCreator
    from ava.services.creation.quotas import QueuedJobsQuota

Result = TypeVar("Result")


class Creators:
    """The creator of children and the quota of waiting jobs of one process. Loaded on first use: few handlers need
    them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._creator: ChildCreator | None = None
        self._waiting_jobs: QueuedJobsQuota | None = None

    @property
    def waiting_jobs(self) -> QueuedJobsQuota:
        """Return the quota of waiting jobs. A tenant far below its limit is counted once in 10 s."""
        if self._waiting_jobs is None:
            from ava.services.creation.quotas import TenantQuotas

            self._waiting_jobs = TenantQuotas.of(self._settings, recounts=True).waiting_jobs
        return self._waiting_jobs

    def get(self) -> ChildCreator:
        if self._creator is None:
            from ava.services.creation.child_creator import ChildCreator
            from ava.services.creation.job_creator import JobCreator
            from ava.services.creation.quotas import TriggerRules

            creator = JobCreator.of(self._settings, recounts=True)
            self._creator = ChildCreator(creator=creator, rules=TriggerRules.of(self._settings))
        return self._creator


class RunJournal:
    """The journal of one run. Retries statements while the database is unreachable, until the run is stopped."""

    def __init__(self, run: Run, database: Database, creators: Creators) -> None:
        self._run = run
        self._database = database
        self._creators = creators
        #: Branches of an async handler may run several statements concurrently.
        self._lock = threading.Lock()

    def write(self, entries: Sequence[NewEntry]) -> None:
        """Write entries. Stops the handler if the run has lost its job."""
        job, claim_id = self._run.job, self._run.claim_id

        def act(connection: Connection) -> bool:
            return journal.write(connection, run=job.run, claim_id=claim_id, attempt=job.attempt, entries=entries)

        if not self._read(act):
            self._stop_as_lost()

    def make_children(self, new: Sequence[NewChild]) -> Sequence[ChildState]:
        """Create children, all or none. Raises `ChildRefused`."""
        creator = self._creators.get()
        is_repeated = False

        def act() -> Sequence[ChildState]:
            nonlocal is_repeated
            if is_repeated and (found := self._made(new)) is not None:
                return found
            is_repeated = True
            with self._database.transaction() as connection:
                return creator.create(connection, self._run.job, claim_id=self._run.claim_id, new=new)

        try:
            return self._repeat(act)
        except RunStopped:
            self._stop()
        except RequestError as error:
            raise ChildRefused(str(error)) from error
        return ()

    def _made(self, new: Sequence[NewChild]) -> Sequence[ChildState] | None:
        """Return the children that an earlier try created before the connection was lost, if it did."""
        job = self._run.job
        with self._database.connect() as connection:
            found = journal.load(connection, run=job.run, claim_id=self._run.claim_id, attempt=job.attempt)
        entries = found.entries if found is not None else ()
        children = found.children if found is not None else {}
        ids = {entry.name: entry.child_id for entry in entries if entry.kind is JournalKind.CHILD}
        states = [children.get(ids.get(child.name) or "") for child in new]
        known = [state for state in states if state is not None]
        return known if len(known) == len(new) else None

    def admit_wait(self) -> None:
        """Raise `TooManyWaiting` if the tenant has reached its limit of waiting jobs, according to the cached count."""
        tenant_id, quota = self._run.job.tenant_id, self._creators.waiting_jobs
        if not self._read(lambda c: quota.admit(c, tenant_id, 1)):
            raise TooManyWaiting(str(quota.refusal(tenant_id)))

    def outputs(self, job_ids: Sequence[str]) -> Mapping[str, str | None]:
        """Return the outputs of children as JSON strings, by id."""
        tenant_id = self._run.job.tenant_id
        return self._read(lambda c: journal.outputs(c, tenant_id=tenant_id, job_ids=job_ids)) if job_ids else {}

    def find_event(
        self, wanted: AwaitedEvent, *, event_id: str | None, taken: Collection[str]
    ) -> Mapping[str, Any] | None:
        """Return the record of the event with this id, or of the first matching event since the job's creation."""
        return search_event(self._read, self._run.job, wanted, event_id=event_id, taken=taken)

    def request_approval(self, name: str, wanted: ApprovalRequest) -> NewEntry:
        """Request a decision, and return the journal's entry. Stops the handler if the run has lost its job."""
        job, claim_id, mask = self._run.job, self._run.claim_id, self._run.mask
        shown = wanted if mask is None else wanted.masked(mask)

        def act() -> NewEntry | None:
            with self._database.transaction() as connection:
                return approvals.request(
                    connection, run=job.run, claim_id=claim_id, attempt=job.attempt, name=name, wanted=shown
                )

        entry = self._repeat(act)
        if entry is None:
            self._stop_as_lost()
        return entry

    def _stop(self) -> None:
        """Stop the handler, because its job is being cancelled or the run has lost it."""
        job, claim_id = self._run.job, self._run.claim_id
        if self._read(lambda c: claim.owns_job(c, run=job.run, claim_id=claim_id)):
            self._run.stop(Stop.CANCEL)
            raise JobCancelled
        self._stop_as_lost()

    def _stop_as_lost(self) -> NoReturn:
        self._run.stop(Stop.LOST)
        raise JobInterrupted

    def _read(self, act: Callable[[Connection], Result]) -> Result:
        def attempt() -> Result:
            with self._database.connect() as connection:
                return act(connection)

        return self._repeat(attempt)

    def _repeat(self, act: Callable[[], Result]) -> Result:
        def attempt() -> Result:
            with _undisturbed(), self._lock:
                return act()

        return persist(attempt, lambda: HOLD_SECONDS if self._run.stopped_for is None else 0.0)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Delay a stop until after a statement: an interruption within it would corrupt the connection."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKABLE_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
