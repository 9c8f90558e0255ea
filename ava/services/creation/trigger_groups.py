"""Concurrent triggers of one process share a statement and a publish, as commits share a flush in PostgreSQL.

It keeps the promised rate of single triggers (`python -m bench accept`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ava.domain.jobs.job import Job
from ava.domain.jobs.new_job import UNMATCHED, NewJob
from ava.errors import DatabaseUnavailable, StatementFailed

_MAX_JOBS = 64
#: Max concurrent statements. The limit leaves capacity for other tenants while one stores much.
_MAX_STATEMENTS = 3
#: Max characters of an input that shares a statement.
_MAX_CHARACTERS = 2**14


@dataclass(kw_only=True, slots=True, eq=False)
class GroupedTrigger:
    """A concurrent trigger: it leads a group, or the leader of its group stores its job."""

    new: NewJob
    #: Locked until the job is stored and published, or this trigger becomes a leader; None if it need not wait.
    wait: threading.Lock | None = None
    leads: bool = False
    #: The triggers of its group, itself first.
    group: list[GroupedTrigger] = field(default_factory=list)
    #: The job, or its error; None if the group's statement failed.
    outcome: Job | BaseException | None = None


class TriggerGroups:
    """Groups of concurrent triggers, each stored by one statement.

    A trigger leads a group immediately, unless its tenant's earlier trigger or the maximum of statements is running.
    Then it waits, and the first waiting trigger leads the next group. So a process runs few such statements, at most
    one per tenant, and its groups grow with the load.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statements = 0
        #: The tenants of the running statements' jobs.
        self._tenants: set[str] = set()
        self._waiting: list[GroupedTrigger] = []

    @contextmanager
    def enter(self, new: NewJob) -> Iterator[GroupedTrigger]:
        """Wait, and yield the trigger: it leads a group, or its leader has stored and published its job.

        Inside the block, a leader stores its group (`statement`) and publishes it; the group continues after the block.
        """
        own = GroupedTrigger(new=new)
        with self._lock:
            if new.tenant_id in self._tenants or self._statements == _MAX_STATEMENTS:
                own.wait = threading.Lock()
                own.wait.acquire()
                self._waiting.append(own)
            else:
                self._let_lead(own)
        if own.wait is not None:
            own.wait.acquire()
        try:
            yield own
        finally:
            for each in own.group[1:]:
                _go_on(each)

    @contextmanager
    def statement(self, leader: GroupedTrigger) -> Iterator[list[GroupedTrigger]]:
        """Yield the group for the leader's statement. The next group follows after the block.

        If a job makes the statement fail, none gets an outcome: each is then stored in its own statement, to find the
        cause. Any other error is the outcome of the whole group.
        """
        with self._lock:
            others = self._tenants - {leader.new.tenant_id}
            joining = [each for each in self._waiting if each.new.tenant_id not in others][: _MAX_JOBS - 1]
            self._waiting = [each for each in self._waiting if each not in joining]
            self._tenants.update(each.new.tenant_id for each in joining)
        leader.group = [leader, *joining]
        try:
            yield leader.group
        except StatementFailed:
            return
        except BaseException as error:
            for each in leader.group[1:]:
                each.outcome = error if isinstance(error, Exception) else DatabaseUnavailable()
            raise
        finally:
            self._pass_on({each.new.tenant_id for each in leader.group})

    def _pass_on(self, tenants: set[str]) -> None:
        """Let the first waiting trigger lead the next group, because these tenants' statement has ended."""
        with self._lock:
            self._tenants -= tenants
            self._statements -= 1
            successor = next((each for each in self._waiting if each.new.tenant_id not in self._tenants), None)
            if successor is not None:
                self._waiting.remove(successor)
                self._let_lead(successor)
        if successor is not None:
            _go_on(successor)

    def _let_lead(self, trigger: GroupedTrigger) -> None:
        trigger.leads = True
        self._statements += 1
        self._tenants.add(trigger.new.tenant_id)


def _go_on(trigger: GroupedTrigger) -> None:
    if trigger.wait is not None:
        trigger.wait.release()


def is_groupable(new: NewJob) -> bool:
    """Return True if a job may share a statement: it delays the others little, and has neither key nor graph."""
    return (
        new.spec.key is None
        and new.spec.entry is None
        and new.spec.approval_json is None
        and len(new.spec.input_json) <= _MAX_CHARACTERS
        and new.schema_version != UNMATCHED
    )
