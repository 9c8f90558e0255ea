"""Concurrent triggers of one process share a statement and a publish, as commits share a flush in PostgreSQL."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ava.domain.job import Job, JobSpec
from ava.errors import DatabaseUnavailable, StatementFailed, TooMany
from ava.services.quotas import TenantQuotas
from ava.store.engine.database import Connection, Database
from ava.store.jobs import client_moves
from ava.store.jobs.client_moves import NewJob

__all__ = ["GroupedTriggers", "insert_group", "is_groupable"]

#: The most jobs that one statement stores.
_MOST = 64
#: Characters of the longest input that is stored together with others.
_MOST_CHARACTERS = 2**14


@dataclass(kw_only=True, slots=True, eq=False)
class _Waiting:
    """A trigger that waits for the group before its own."""

    new: NewJob
    #: Set when the job is stored, or when this trigger is to lead the next group.
    is_over: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    #: The job; None if it was left out.
    job: Job | None = None
    error: BaseException | None = None


class GroupedTriggers:
    """Stores jobs of several clients together.

    A trigger that finds no other under way is stored at once. Those that come meanwhile wait for it, and the first of
    them stores them all. So a process has one such statement under way at a time, and its groups grow with the load.
    """

    def __init__(
        self,
        store: Callable[[Sequence[NewJob]], Sequence[Job | TooMany | None]],
        *,
        publish: Callable[[Sequence[Job]], None],
    ) -> None:
        """`store` returns for each new job its record, the reason why it is refused, or None if it is left out."""
        self._store = store
        self._publish = publish
        self._lock = threading.Lock()
        self._is_storing = False
        self._waiting: deque[_Waiting] = deque()

    def trigger(self, new: NewJob) -> Job | None:
        """Store and publish a job. Returns None if the statement has left it out; then its own says why.

        Raises the reason why the job is refused, or what `store` raises for the whole group.
        """
        own = _Waiting(new=new)
        with self._lock:
            own.leads = not self._is_storing
            self._is_storing = True
            if not own.leads:
                self._waiting.append(own)
        if not own.leads:
            own.is_over.wait()
        if own.leads:
            self._lead(own)
        if own.error is not None:
            raise own.error
        return own.job

    def _lead(self, own: _Waiting) -> None:
        with self._lock:
            group = [own, *(self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST - 1)))]
        try:
            try:
                self._store_all(group)
            finally:
                self._pass_on()
            self._publish([each.job for each in group if each.job is not None])
        finally:
            for each in group[1:]:
                each.is_over.set()

    def _store_all(self, group: Sequence[_Waiting]) -> None:
        try:
            outcomes = self._store([each.new for each in group])
        except StatementFailed:
            # One of them is to blame; on its own each gets its own answer.
            return
        except BaseException as error:
            for each in group[1:]:
                each.error = error if isinstance(error, Exception) else DatabaseUnavailable()
            raise
        for each, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, TooMany):
                each.error = outcome
            else:
                each.job = outcome

    def _pass_on(self) -> None:
        """Have the first of those that wait lead the next group."""
        with self._lock:
            successor = self._waiting.popleft() if self._waiting else None
            self._is_storing = successor is not None
        if successor is not None:
            successor.leads = True
            successor.is_over.set()


def is_groupable(spec: JobSpec) -> bool:
    """Returns True if a job may be stored together with others: it does not delay them much, and waits for none."""
    return spec.key is None and len(spec.input_json) <= _MOST_CHARACTERS


def insert_group(database: Database, quota: TenantQuotas, new: Sequence[NewJob]) -> list[Job | TooMany | None]:
    """Insert jobs of several clients. Returns each one's record, or why it is refused; None if it was left out."""
    with database.connect(of_process=True) as connection:
        refusals = [_refusal(connection, quota, each) for each in new]
        admitted = [each for each, refusal in zip(new, refusals, strict=True) if refusal is None]
        stored = iter(client_moves.insert_each(connection, admitted) if admitted else ())
    return [next(stored) if refusal is None else refusal for refusal in refusals]


def _refusal(connection: Connection, quota: TenantQuotas, new: NewJob) -> TooMany | None:
    try:
        quota.admit(connection, new.tenant_id, jobs=1, size=len(new.spec.input_json))
    except TooMany as error:
        return error
    return None
