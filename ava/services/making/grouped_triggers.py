"""Concurrent triggers of one process share a statement and a publish, as commits share a flush in PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ava.domain.jobs.job import Job
from ava.domain.jobs.new_job import UNMATCHED, JobOrRefusal, NewJob
from ava.errors import DatabaseUnavailable, StatementFailed

#: The most jobs that one statement stores.
_MAX_JOBS = 64
#: The most statements under way at once. So a tenant with much to store leaves room for others, which share the rest.
_MAX_STATEMENTS = 3
#: Characters of the longest input that is stored together with others.
_MAX_CHARACTERS = 2**14


@dataclass(kw_only=True, slots=True, eq=False)
class _Waiting:
    """A trigger that waits for the group before its own."""

    new: NewJob
    #: Held until the job is stored, or until this trigger is to lead the next group; None if it leads one at once.
    wait: threading.Lock | None = None
    leads: bool = False
    #: The job; None if the statement of its group has failed.
    job: Job | None = None
    error: BaseException | None = None

    def go_on(self) -> None:
        """End the wait."""
        if self.wait is not None:
            self.wait.release()


class GroupedTriggers:
    """Stores jobs of several clients together.

    A trigger is stored at once, unless its tenant's earlier one is under way, or those of several others are. Those
    that come meanwhile wait, and the first of them stores them all. So a process has few such statements under way, of
    one tenant one at a time, and its groups grow with the load.
    """

    def __init__(
        self,
        store: Callable[[Sequence[NewJob]], Sequence[JobOrRefusal]],
        *,
        publish: Callable[[Sequence[Job]], None],
    ) -> None:
        """`store` returns for each new job its record, or the reason why it is refused."""
        self._store = store
        self._publish = publish
        self._lock = threading.Lock()
        self._statements = 0
        #: The tenants whose jobs the statements under way store.
        self._tenants: set[str] = set()
        self._waiting: list[_Waiting] = []

    def trigger(self, new: NewJob) -> Job | None:
        """Store and publish a job. Returns None if the statement of its group has failed; its own says who is to blame.

        Raises the reason why the job is refused, or what `store` raises for the whole group.
        """
        own = _Waiting(new=new)
        with self._lock:
            if own.new.tenant_id in self._tenants or self._statements == _MAX_STATEMENTS:
                own.wait = threading.Lock()
                own.wait.acquire()
                self._waiting.append(own)
            else:
                self._make_leader(own)
        if own.wait is not None:
            own.wait.acquire()
        if own.leads:
            self._lead(own)
        if own.error is not None:
            raise own.error
        return own.job

    def _lead(self, own: _Waiting) -> None:
        group = [own, *self._join(own.new.tenant_id)]
        try:
            try:
                self._store_all(group)
            finally:
                self._pass_on({each.new.tenant_id for each in group})
            self._publish([each.job for each in group if each.job is not None])
        finally:
            for each in group[1:]:
                each.go_on()

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
            if isinstance(outcome, Job):
                each.job = outcome
            else:
                each.error = outcome

    def _join(self, tenant_id: str) -> list[_Waiting]:
        """Returns the triggers that a leader of this tenant takes along: those whose tenants no other statement has."""
        with self._lock:
            others = self._tenants - {tenant_id}
            joining = [each for each in self._waiting if each.new.tenant_id not in others][: _MAX_JOBS - 1]
            joined = set(joining)
            self._waiting = [each for each in self._waiting if each not in joined]
            self._tenants.update(each.new.tenant_id for each in joining)
            return joining

    def _pass_on(self, tenants: set[str]) -> None:
        """Have the first of those that wait lead the next group, because the statement of these tenants is over."""
        with self._lock:
            self._tenants -= tenants
            self._statements -= 1
            successor = next((each for each in self._waiting if each.new.tenant_id not in self._tenants), None)
            if successor is not None:
                self._waiting.remove(successor)
                self._make_leader(successor)
        if successor is not None:
            successor.go_on()

    def _make_leader(self, trigger: _Waiting) -> None:
        trigger.leads = True
        self._statements += 1
        self._tenants.add(trigger.new.tenant_id)


def is_groupable(new: NewJob) -> bool:
    """Returns True if a job may be stored together with others: it does not delay them much, and waits for none."""
    return (
        new.spec.key is None
        and new.spec.entry is None
        and len(new.spec.input_json) <= _MAX_CHARACTERS
        and new.schema_version != UNMATCHED
    )
