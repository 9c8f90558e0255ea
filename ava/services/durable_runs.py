"""Use cases of durable handlers over HTTP: the journal of a pulled run's job, its steps, children and waits.

Handlers on a node have the same rules: the same functions decide about waits, and the same statements write the
journal. A node's process keeps the sizes of its journal in memory; here the run's lease has them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from ava.domain.access.api_key import ANY_WORKER
from ava.domain.access.tokens import Token
from ava.domain.approval import ApprovalRequest
from ava.domain.events.awaited import AwaitedEvent
from ava.domain.jobs.job import Job, JobKey, Status
from ava.domain.jobs.run_outcome import Ending, RunOutcome
from ava.domain.jobs.waits import (
    VALUED,
    ChildOutput,
    ChildState,
    EntryState,
    JournalKind,
    LoadedJournal,
    NewChild,
    NewEntry,
    ShownEntry,
    Wait,
)
from ava.domain.limits.table import ALL_STEPS_BYTES, RESPONSE_BYTES, STEPS
from ava.domain.strings import one_line
from ava.errors import (
    Forbidden,
    InterruptedStep,
    InvalidFields,
    JournalFull,
    RequestError,
    RunLost,
    RunStopped,
    RunToStop,
    StepRecorded,
    required,
)
from ava.handler.acts import Act, Steps
from ava.handler.branches import Branches
from ava.handler.call_arguments import SLEEP_NAME, name_of_wait
from ava.handler.entries import JournalEntries
from ava.handler.errors import DuplicateName
from ava.handler.wait_calls import WaitCalls, WaitStore
from ava.services.creation.child_creator import ChildCreator
from ava.services.creation.quotas import QueuedJobsQuota
from ava.services.events.awaiting_jobs import search_event
from ava.services.pulled_runs import PulledRuns, ended_run, parse_token
from ava.store.engine.database import Connection, Database
from ava.store.jobs import approvals, journal
from ava.store.jobs.journal import JournalSize
from ava.store.jobs.reads import journals
from ava.store.jobs.transitions import claim, wait
from ava.store.jobs.transitions.pull import LeasedRun

Result = TypeVar("Result")

#: Max bytes of a value that a run reads: more than any step or event has.
_WHOLE_VALUES = 2**31 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class SentStep:
    name: str
    state: EntryState
    #: Serialized; None unless it is done.
    value_json: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SentWait:
    """A wait of a handler: for children, for an event, for a decision or for a time."""

    name: str | None
    job_ids: Sequence[str] = ()
    #: Whether the first child to end satisfies it.
    is_any: bool = False
    event: AwaitedEvent | None = None
    approval: ApprovalRequest | None = None
    seconds: float | None = None
    timeout_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class SentWaits:
    waits: Sequence[SentWait]

    @property
    def digest(self) -> bytes:
        """Return a hash that is equal for repeated requests."""
        return hashlib.sha256(repr(self.waits).encode()).digest()


class DurableRuns:
    def __init__(
        self, database: Database, runs: PulledRuns, *, creator: ChildCreator, waiting_jobs: QueuedJobsQuota
    ) -> None:
        self._database = database
        self._runs = runs
        self._creator = creator
        self._waiting_jobs = waiting_jobs

    def journal(
        self, token_string: str, *, after: Callable[[str], int | None], limit: int, offset: int
    ) -> tuple[str, list[ShownEntry], int]:
        """Return the id of the run's job, entries of its journal with whole values, and their total, up to a limit.

        `after` returns the position before the first entry, by the job's id. Raise `RunLost`, `RunNotFound`,
        `RunKeyEnded`.
        """
        with self._database.transaction() as connection:
            run = self._begin(connection, parse_token(token_string)).run
            key = JobKey(run.tenant_id, run.job_id)
            first = after(run.job_id) or 0
            found = journals.entries(connection, key, after=first, limit=limit, offset=offset, large=_WHOLE_VALUES)
            return run.job_id, found, journals.count_entries(connection, key)

    def outputs(self, token_string: str, job_ids: Sequence[str]) -> list[ChildOutput]:
        """Return children with their outputs as JSON, the first ones, up to the size of a response.

        Raise `InvalidFields` for jobs that are no children of this job, and like `journal`.
        """
        with self._database.transaction() as connection:
            run = self._begin(connection, parse_token(token_string))
            found = journal.child_outputs(connection, run.run, child_ids=job_ids, max_bytes=RESPONSE_BYTES.value)
        _check_known(job_ids, {child.id for child in found})
        return [child for child in found if child.fits]

    def write_step(self, token_string: str, sent: SentStep) -> bool:
        """Record that a step begins, or its result. Return True if the run must stop.

        Raise `InterruptedStep` if an earlier run began it, `StepRecorded` if it has another result, `JournalFull`, and
        like `journal`.
        """
        token = parse_token(token_string)
        with self._database.transaction() as connection:
            run = self._begin(connection, token)
            found, _ = journal.find(connection, run.run, JournalKind.STEP, [sent.name]).get(sent.name, (None, None))
            if found is not None and found.state is EntryState.DONE:
                if found.value_json != sent.value_json:
                    raise StepRecorded
                return run.is_to_stop
            if found is not None and found.n <= (run.journal_n or 0):
                raise InterruptedStep
            if found is None or sent.state is EntryState.DONE:
                self._write_step(connection, token, run, sent, is_new=found is None)
        return run.is_to_stop

    def _write_step(
        self, connection: Connection, token: Token, run: LeasedRun, sent: SentStep, *, is_new: bool
    ) -> None:
        size = JournalSize(
            n=run.journal_n or 0,
            values=run.journal_values + is_new,
            bytes=run.journal_bytes + len(sent.value_json or ""),
        )
        _check_size(size)
        entry = NewEntry(kind=JournalKind.STEP, name=sent.name, state=sent.state, value_json=sent.value_json)
        _write(connection, run, [entry])
        journal.record_size(connection, token, tenant_id=run.run.tenant_id, size=size)

    def make_children(self, token_string: str, new: Sequence[NewChild]) -> list[ChildState]:
        """Create the children with new names, all or none. Return all children.

        Raise `Forbidden` unless the key that claimed the run may trigger each worker, `RunToStop`, the refusal of the
        first refused child, and like `journal`.
        """
        token = parse_token(token_string)
        with self._database.transaction() as connection:
            run = self._begin(connection, token)
            _check_triggers(journal.triggers_of(connection, token), new)
            job = required(claim.lock(connection, run.run), RunLost)
            names = [child.name for child in new]
            states = {
                name: child
                for name, (_, child) in journal.find(connection, run.run, JournalKind.CHILD, names).items()
                if child is not None
            }
            missing = [(number, child) for number, child in enumerate(new) if child.name not in states]
            if missing:
                states |= self._create(connection, run, job, missing)
        return [states[name] for name in names]

    def _create(
        self, connection: Connection, run: LeasedRun, job: Job, missing: Sequence[tuple[int, NewChild]]
    ) -> dict[str, ChildState]:
        new = [child for _, child in missing]
        try:
            created = self._creator.create(connection, job, claim_id=run.claim_id, new=new)
        except RunStopped:
            raise RunToStop from None
        except RequestError as error:
            error.entry = missing[error.entry][0]
            raise
        return {child.name: state for child, state in zip(new, created, strict=True)}

    def wait(self, token_string: str, sent: SentWaits) -> Status:
        """End a run because its handler waits. Return the job's status: `running` if a wait is already satisfied.

        The journal then has the outcome of each satisfied wait. Raise `TooMany` if the tenant has too many waiting
        jobs, `InvalidFields` for an invalid wait, and like `journal`.
        """
        token = parse_token(token_string)
        try:
            pending = self._find_pending(token, sent)
        except RunLost:
            # The same request may have ended the run before, or at the same time.
            return self._runs.end_once(token, sent.digest, lambda *_: None)
        if pending is None:
            return Status.RUNNING
        return self._runs.end_once(token, sent.digest, partial(self._suspend, pending=pending))

    def _find_pending(self, token: Token, sent: SentWaits) -> Wait | None:
        """Return the wait that ends the run; None if a wait is already satisfied. The journal has the outcomes."""
        with self._database.transaction() as connection:
            run = self._begin(connection, token)
            job = required(claim.lock(connection, run.run), RunLost)
            loaded = self._load(connection, run, sent)

        def write(*new: NewEntry) -> Steps[None]:
            yield Act(lambda: self._write_waits(token, new))

        store = _Store(self._database, job, partial(self._request_approval, token))
        branches, calls = _waits(store, loaded, write)
        try:
            pending, entries = branches.try_each([_call(calls, loaded.children, each) for each in sent.waits])
        except (DuplicateName, ValueError) as error:
            message = one_line(str(error))
            raise InvalidFields(message, {"waits": [message]}) from error
        if pending is None and entries:
            self._write_waits(token, entries)
        return pending

    def _load(self, connection: Connection, run: LeasedRun, sent: SentWaits) -> LoadedJournal:
        job_ids = list(dict.fromkeys(id_ for each in sent.waits for id_ in each.job_ids))
        children = journal.load_children(connection, run.run, job_ids)
        _check_known(job_ids, children.children)
        named = {entry.child_id or "": entry.name for entry in children.entries}
        waits = journal.load_waits(connection, run.run, [_name(each, named) for each in sent.waits])
        return LoadedJournal(entries=[*children.entries, *waits.entries], children=children.children)

    def _suspend(self, connection: Connection, run: LeasedRun, job: Job, *, pending: Wait) -> Status | None:
        if not self._waiting_jobs.admit(connection, job.tenant_id, 1):
            raise self._waiting_jobs.refusal(job.tenant_id)
        outcome = RunOutcome(run=run.run, ending=Ending.WAITED, elapsed_ms=run.elapsed_ms, wait=pending)
        return wait.end_waiting(connection, ended_run(connection, run, job, outcome))

    def _begin(self, connection: Connection, token: Token) -> LeasedRun:
        """Renew the run's lease; before its first use of the journal, adapt the journal to the run."""
        run = self._runs.hear(connection, token)
        if run.journal_n is not None:
            return run
        size = required(journal.begin(connection, run=run.run, claim_id=run.claim_id, attempt=run.attempt), RunLost)
        journal.record_size(connection, token, tenant_id=run.run.tenant_id, size=size)
        return replace(run, journal_n=size.n, journal_values=size.values, journal_bytes=size.bytes)

    def _request_approval(self, token: Token, name: str, wanted: ApprovalRequest) -> NewEntry:
        with self._database.transaction() as connection:
            run = self._begin(connection, token)
            entry = approvals.request(
                connection, run=run.run, claim_id=run.claim_id, attempt=run.attempt, name=name, wanted=wanted
            )
            if entry is None:
                raise RunLost
            self._record_size(connection, token, run, [entry])
            return entry

    def _write_waits(self, token: Token, entries: Sequence[NewEntry]) -> None:
        with self._database.transaction() as connection:
            run = self._begin(connection, token)
            self._record_size(connection, token, run, entries)
            _write(connection, run, entries)

    def _record_size(self, connection: Connection, token: Token, run: LeasedRun, entries: Sequence[NewEntry]) -> None:
        """Record the size of the journal with new entries. Raise `JournalFull`."""
        valued = [entry for entry in entries if entry.kind in VALUED]
        if valued:
            size = JournalSize(
                n=run.journal_n or 0,
                # The entry of an event or a decision is written when its wait begins, and again with the result.
                values=run.journal_values + sum(entry.state is EntryState.WAITS for entry in valued),
                bytes=run.journal_bytes + sum(len(entry.value_json or "") for entry in valued),
            )
            _check_size(size)
            journal.record_size(connection, token, tenant_id=run.run.tenant_id, size=size)


def _write(connection: Connection, run: LeasedRun, entries: Sequence[NewEntry]) -> None:
    if not journal.write(connection, run=run.run, claim_id=run.claim_id, attempt=run.attempt, entries=entries):
        raise RunLost


def _check_known(job_ids: Sequence[str], known: Collection[str]) -> None:
    if (unknown := next((id_ for id_ in job_ids if id_ not in known), None)) is not None:
        message = f"{unknown} is not a child of this job."
        raise InvalidFields(message, {"jobs": [message]})


def _check_size(size: JournalSize) -> None:
    message = None
    if size.values > STEPS.value:
        message = STEPS.message(f"A job has at most {STEPS.value:,} steps and events.")
    elif size.bytes > ALL_STEPS_BYTES.value:
        most = f"{ALL_STEPS_BYTES.value:,} bytes of JSON"
        message = ALL_STEPS_BYTES.message(f"All steps and events of a job together may have at most {most}.")
    if message is not None:
        raise JournalFull(message, {"name": [message]})


def _check_triggers(allowed: frozenset[str], new: Sequence[NewChild]) -> None:
    if ANY_WORKER in allowed:
        return
    refused = next((child.worker_id for child in new if child.worker_id not in allowed), None)
    if refused is not None:
        raise Forbidden(f"The key that claimed this run may not trigger {refused}; `triggers` of a key lists workers.")


def _name(sent: SentWait, children: Mapping[str, str]) -> str:
    """Return the name of a wait in the journal; `children`: names by job id."""
    if sent.name is not None:
        return sent.name
    if sent.event is not None:
        return sent.event.type
    if sent.seconds is not None:
        return SLEEP_NAME
    return name_of_wait([children[id_] for id_ in sent.job_ids], is_any=sent.is_any)


def _waits(
    store: WaitStore, loaded: LoadedJournal, write: Callable[..., Steps[None]]
) -> tuple[Branches, WaitCalls[ChildState]]:
    """Return the waits of a run, with its loaded journal."""
    entries = JournalEntries(loaded)
    # Each wait is a branch; the transaction that ends the run admits it.
    branches = Branches(entries, write, lambda: None, is_async=False, all_tasks=tuple)
    names = {entry.child_id or "": entry.name for entry in loaded.entries if entry.kind is JournalKind.CHILD}
    calls = WaitCalls(
        store, loaded, entries=entries, branches=branches, write=write, children=loaded.children, names=names
    )
    return branches, calls


def _call(calls: WaitCalls[ChildState], known: Mapping[str, ChildState], sent: SentWait) -> Steps[Any]:
    """Return the call of a handler on a node that the wait stands for."""
    if sent.event is not None:
        return calls.for_event(sent.event.type, sent.event.match, timeout=sent.timeout_seconds, key=sent.name)
    if sent.approval is not None:
        return calls.for_decision(sent.name or "", sent.approval, ())
    if sent.seconds is not None:
        return calls.sleep(sent.seconds, key=sent.name)
    children = [known[id_] for id_ in sent.job_ids]
    wait_for = calls.for_any if sent.is_any else calls.for_all
    return wait_for(children, timeout=sent.timeout_seconds, key=sent.name)


class _Store:
    """Finds the events that a job waits for, each page with its own connection, and requests decisions."""

    def __init__(
        self, database: Database, job: Job, request_approval: Callable[[str, ApprovalRequest], NewEntry]
    ) -> None:
        self._database = database
        self._job = job
        self.request_approval = request_approval

    def find_event(
        self, wanted: AwaitedEvent, *, event_id: str | None, taken: Collection[str]
    ) -> Mapping[str, Any] | None:
        return search_event(self._read, self._job, wanted, event_id=event_id, taken=taken)

    def _read(self, act: Callable[[Connection], Result]) -> Result:
        with self._database.connect() as connection:
            return act(connection)
