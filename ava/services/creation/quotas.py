"""Rules for a tenant's new jobs: their priority, and quotas of queued jobs and stored bytes.

The quotas need no counter that every job would have to maintain.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Self

from ava.domain.access.caller import Caller
from ava.domain.jobs import priority
from ava.domain.jobs.job import JobSpec
from ava.domain.limits.table import (
    MOST_URGENT_PRIORITY,
    TENANT_QUEUED_JOBS,
    TENANT_RUNNING_JOBS,
    TENANT_STORED_BYTES,
    WAITING_JOBS,
)
from ava.errors import PriorityTooUrgent, TooMany
from ava.services.cache import Cache
from ava.settings import Settings
from ava.store.engine.database import Connection
from ava.store.reports import storage, tenant_usage

#: Maximum age of a count.
_COUNT_SECONDS = 10.0
#: The same for a tenant at its limit.
_FULL_SECONDS = 1.0
#: A process accepts an eighth of the remaining jobs before it counts again, so that many processes stay in the limit.
_PART = 8
#: If at most this many remain, a process accepts all of them.
_FEW = 64
#: If a tenant stores too much: a measuring pass, like deleting jobs, takes a while.
_FULL_RETRY_SECONDS = 60
_MAX_TENANTS = 10_000


@dataclass(kw_only=True)
class _QueuedCount:
    read_at: float
    #: Remaining jobs of the tenant, to this process's knowledge.
    left: int
    #: Which this process accepts before it counts again.
    budget: int


class QueuedJobsQuota:
    """Refuses jobs of a tenant with too many queued ones.

    A tenant far from its limit costs a dictionary lookup. Several processes that accept jobs simultaneously may exceed
    the limit by these.
    """

    def __init__(
        self,
        max_jobs: int | None,
        clock: Callable[[], float] = time.monotonic,
        *,
        are_waiting: bool = False,
        recounts: bool = False,
    ) -> None:
        """`are_waiting`: count jobs that wait for other jobs, instead of queued ones.

        `recounts`: count before each refusal, not once a second, because a refusal ends a handler's attempt.
        """
        self._max_jobs = max_jobs
        self._clock = clock
        self._are_waiting = are_waiting
        self._full_seconds = 0.0 if recounts else _FULL_SECONDS
        self._lock = threading.Lock()
        self._counts: Cache[str, _QueuedCount] = Cache(_MAX_TENANTS)

    def admit(self, connection: Connection, tenant_id: str, jobs: int, *, in_part: bool = False) -> int:
        """Return how many of the jobs the tenant may add: all or none, unless `in_part`."""
        if self._max_jobs is None:
            return jobs
        now = self._clock()
        with self._lock:
            known = self._counts.get(tenant_id)
            if known is not None and now - known.read_at <= _COUNT_SECONDS:
                if jobs <= known.budget:
                    known.budget -= jobs
                    known.left -= jobs
                    return jobs
                if (1 if in_part else jobs) > known.left and now - known.read_at < self._full_seconds:
                    return 0
        count = tenant_usage.waiting_jobs if self._are_waiting else tenant_usage.queued_jobs
        left = self._max_jobs - count(connection, tenant_id=tenant_id, limit=self._max_jobs)
        taken = jobs if jobs <= left else max(0, left) * in_part
        budget = left if left <= _FEW else left // _PART
        counted = _QueuedCount(read_at=now, left=left - taken, budget=max(0, budget - taken))
        self._counts.put(tenant_id, counted)
        return taken

    def refusal(self, tenant_id: str) -> TooMany:
        known = self._counts.get(tenant_id)
        left = 0 if known is None else known.left
        limit, kind = (WAITING_JOBS, "waiting") if self._are_waiting else (TENANT_QUEUED_JOBS, "queued")
        sentence = f"This tenant may have {self._max_jobs:,} {kind} jobs, {left:,} more now; try again shortly."
        return TooMany(limit.message(sentence), retry_after_seconds=round(_FULL_SECONDS))


@dataclass(kw_only=True)
class _StoredSum:
    read_at: float
    stored: int
    measured_at: datetime | None
    #: Bytes that this process has accepted since.
    accepted: int = 0


class StoredBytesQuota:
    """Refuses jobs of a tenant that stores too much.

    Passes of the dispatcher measure the stored bytes (`ava.dispatcher.duties.statistics`). Until the next measurement,
    each process adds the bytes that it has accepted.
    """

    def __init__(self, max_bytes: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._sums: Cache[str, _StoredSum] = Cache(_MAX_TENANTS)

    def admit(self, connection: Connection, tenant_id: str, sizes: Sequence[int], *, in_part: bool = False) -> int:
        """Return how many of the jobs the tenant may store; `sizes` are the bytes of their inputs.

        It is all or none, unless `in_part`: then the first ones.
        """
        if self._max_bytes is None:
            return len(sizes)
        now = self._clock()
        known = self._sums.get(tenant_id)
        if known is None or now - known.read_at > _COUNT_SECONDS:
            known = self._read(connection, tenant_id, known, now)
        with self._lock:
            left = self._max_bytes - known.stored - known.accepted
            sums = list(accumulate(sizes))
            taken = sum(size <= left for size in sums)
            if taken < len(sizes) and not in_part:
                return 0
            known.accepted += sums[taken - 1] if taken else 0
            return taken

    def refusal(self, tenant_id: str) -> TooMany:
        known = self._sums.get(tenant_id)
        stored = 0 if known is None else known.stored + known.accepted
        sentence = f"This tenant may store {self._max_bytes:,} bytes; it has {stored:,}."
        return TooMany(TENANT_STORED_BYTES.message(sentence), retry_after_seconds=_FULL_RETRY_SECONDS)

    def _read(self, connection: Connection, tenant_id: str, known: _StoredSum | None, now: float) -> _StoredSum:
        found = storage.measured(connection, tenant_id=tenant_id)
        stored, measured_at = (found.stored_bytes, found.measured_at) if found else (0, None)
        read = _StoredSum(read_at=now, stored=stored, measured_at=measured_at)
        if known is not None and known.measured_at == measured_at:
            read.accepted = known.accepted
        self._sums.put(tenant_id, read)
        return read


class TenantQuotas:
    def __init__(
        self,
        *,
        queued_jobs: int | None = None,
        stored_bytes: int | None = None,
        waiting_jobs: int | None = WAITING_JOBS.default,
        recounts: bool = False,
    ) -> None:
        """None means unlimited. For `recounts` see `QueuedJobsQuota`."""
        self.queued_jobs = QueuedJobsQuota(queued_jobs, recounts=recounts)
        self.waiting_jobs = QueuedJobsQuota(waiting_jobs, are_waiting=True, recounts=recounts)
        self.stored_bytes = StoredBytesQuota(stored_bytes)

    @classmethod
    def of(cls, settings: Settings, *, recounts: bool = False) -> Self:
        return cls(
            queued_jobs=TENANT_QUEUED_JOBS.of(settings),
            stored_bytes=TENANT_STORED_BYTES.of(settings),
            waiting_jobs=WAITING_JOBS.of(settings),
            recounts=recounts,
        )

    def admit(
        self,
        connection: Connection,
        tenant_id: str,
        sizes: Sequence[int],
        *,
        in_part: bool = False,
        are_waiting: bool = False,
    ) -> tuple[int, TooMany | None]:
        """Return how many of the jobs the tenant may add, and why not all; `sizes` are the bytes of their inputs.

        It is all or none, unless `in_part`: then the first ones. `are_waiting`: they wait for other jobs.
        """
        quota = self.waiting_jobs if are_waiting else self.queued_jobs
        jobs = quota.admit(connection, tenant_id, len(sizes), in_part=in_part)
        stored = self.stored_bytes.admit(connection, tenant_id, sizes[:jobs], in_part=in_part)
        if stored < jobs:
            return stored, self.stored_bytes.refusal(tenant_id)
        return stored, None if jobs == len(sizes) else quota.refusal(tenant_id)


class TriggerRules:
    """The allowed priority and running jobs of new jobs, by the settings.

    The statement that stores a job (`ava.store.jobs.transitions.make`) reads the tenant's own limits and closed
    windows.
    """

    def __init__(self, *, most_urgent: int = priority.FIRST, tenant_max_running: int | None = None) -> None:
        """`tenant_max_running` is a tenant's default limit; None: unlimited."""
        #: The smallest priority number for roles of a tenant.
        self.most_urgent = most_urgent
        self.tenant_max_running = tenant_max_running

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            most_urgent=settings.tenant_most_urgent_priority, tenant_max_running=TENANT_RUNNING_JOBS.of(settings)
        )

    def bounded_by_role(self, caller: Caller, wanted: int) -> int:
        """Bound a priority, chosen by someone other than the caller, by the caller's most urgent one."""
        return wanted if caller.is_operator else max(wanted, self.most_urgent)

    def refuse_urgent(self, caller: Caller, specs: Sequence[JobSpec]) -> None:
        """Raise `PriorityTooUrgent` for the first job that is more urgent than the caller may ask for."""
        if self.most_urgent == priority.FIRST or caller.is_operator:
            return
        for entry, spec in enumerate(specs):
            if spec.priority < self.most_urgent:
                reason = f"It must be from {self.most_urgent} to {priority.LAST} for tenant roles."
                raise PriorityTooUrgent(MOST_URGENT_PRIORITY.message(reason), entry)
