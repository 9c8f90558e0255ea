"""Admission: give free permits to the jobs that wait for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from ava.dispatcher.feed.fair_queue import FairQueue
from ava.domain.jobs.job import Job
from ava.domain.limits.fair_queueing import FairQueueClock, WaitingJob
from ava.domain.limits.rates import Rate
from ava.store.engine.database import Connection, Database
from ava.store.fleet import tenants
from ava.store.jobs.feed import limit_keys, permit_waits
from ava.store.jobs.feed.limit_keys import KeyState
from ava.store.jobs.feed.permit_waits import LimitedJob
from ava.store.jobs.transitions import park, permits

#: Limit keys per poll, in addition to those of notices. The next poll continues after them.
MAX_KEYS = 200
#: Permits after which a poll stops admitting, because jobs of other tenants wait until it ends.
_MAX_PERMITS = 100
#: Jobs of one key, priority and tenant in one poll, and tenants of one key and priority.
_MAX_EACH = 50
_MAX_TENANTS = 200
#: Maximum keys whose fair-queueing clocks are cached.
_MAX_CLOCKS = 1000
_IDLE_SECONDS = 60.0
_RATES_PER_STATEMENT = 1000


class Admission:
    """Gives permits to waiting jobs: the most urgent first, then by fair queueing of the tenants, then the oldest.

    The transaction that gives permits counts those in use, under a lock that all dispatchers share. So neither a crash
    nor a second dispatcher exceeds a limit, and the end of a job frees its permit immediately.
    """

    def __init__(
        self, database: Database, fair_queue: FairQueue, *, node_dead_seconds: float, tenant_max_running: int | None
    ) -> None:
        self._database = database
        #: Dedicated to the transactions that give permits; used only by the feed's thread.
        self._connections = database.dedicated()
        self._fair_queue = fair_queue
        self._node_dead_seconds = node_dead_seconds
        self._tenant_max_running = tenant_max_running
        #: The last key of the previous poll, if more keys follow.
        self.last_key = ""
        self._clocks: dict[tuple[str, int], FairQueueClock] = {}
        self._idle_at = 0.0
        #: Seconds until a rate among the keys of the last poll allows the next start.
        self.wait_seconds = float("inf")
        #: Whether the last poll left free permits for the next one.
        self.has_more = False

    def poll(self, keys: Sequence[str], may_publish: Callable[[str, str, int], bool]) -> list[Job]:
        """Give the free permits of keys that follow `last_key`. Returns the same as `admit`."""
        self.wait_seconds = float("inf")
        if time.monotonic() > self._idle_at:
            self._idle_at = time.monotonic() + _IDLE_SECONDS
            with self._database.connect() as connection:
                permit_waits.delete_idle_rates(connection, limit=_RATES_PER_STATEMENT)
        admitted = self.admit(keys, may_publish, max_permits=_MAX_PERMITS)
        # Otherwise the next poll repeats these keys; keys without a free permit cost little.
        if not self.has_more:
            self.last_key = keys[-1] if len(keys) == MAX_KEYS else ""
        return admitted

    def admit(
        self, keys: Collection[str], may_publish: Callable[[str, str, int], bool], *, max_permits: float = float("inf")
    ) -> list[Job]:
        """Give the free permits of these keys. Returns the jobs, some of them marked as published.

        `may_publish(tenant_id, queue, priority)` tells whether an admitted job may be published immediately. After
        `max_permits` jobs, no further key is considered.
        """
        self.has_more = False
        if not keys:
            return []
        with limit_keys.locked_key_states(
            self._connections, keys, dead_after_seconds=self._node_dead_seconds, max_next=_MAX_EACH
        ) as (connection, states):
            fronts = (
                [front for state in states if (front := self._front(connection, state)) is not None]
                if self._fair_queue.has_limits
                else states
            )
            capacities = [(state, self._free_capacity(connection, state)) for state in fronts]
            chosen = self._choose(
                connection, [(state, capacity) for state, capacity in capacities if capacity > 0], max_permits
            )
            if not chosen:
                return []
            return permits.admit(
                connection, [(job, may_publish(job.tenant_id, job.queue, job.priority)) for job in chosen]
            )

    def _front(self, connection: Connection, state: KeyState) -> KeyState | None:
        """Return the key's state with the most urgent priority that has a tenant below its own limit; None if there is
        none.

        A job of a tenant at its limit takes no permit and does not block less urgent jobs of other tenants. A key with
        too many used permits keeps its state.
        """
        if state.capacity < 0:
            return state
        priority: int | None = state.priority
        while priority is not None:
            waiting = permit_waits.waiting_tenants(connection, key=state.key, priority=priority, limit=_MAX_TENANTS)
            if self._with_capacity(connection, [(state.key, priority, tenant) for tenant in waiting]):
                break
            priority = permit_waits.next_priority(connection, key=state.key, priority=priority)
        if priority is None or priority == state.priority:
            return None if priority is None else state
        return replace(state, priority=priority, is_of_several_tenants=True, next_jobs=())

    def _free_capacity(self, connection: Connection, state: KeyState) -> int:
        """Return a key's free permits. If there are none, unstarted jobs release some to more urgent waiting jobs."""
        capacity = state.capacity
        if capacity < 0:
            # The limit was lowered.
            park.park_less_urgent(connection, key=state.key, priority=0, limit=-capacity)
        elif capacity == 0 and state.least_urgent is not None and state.least_urgent > state.priority:
            capacity = park.park_less_urgent(connection, key=state.key, priority=state.priority, limit=_MAX_EACH)
        if state.rate is not None:
            capacity = min(capacity, state.rate.unstarted - state.unstarted)
        return min(capacity, _MAX_EACH)

    def _choose(
        self, connection: Connection, found: Sequence[tuple[KeyState, int]], max_permits: float
    ) -> list[LimitedJob]:
        """Return the jobs that get permits, each key's in its order, the keys with the most urgent job first."""
        if not found:
            return []
        waiting = self._waiting(connection, found)
        rates = _Rates(connection, {key.key: key.rate for key, _ in found if key.rate is not None}, waiting)
        chosen: list[LimitedJob] = []
        for state, capacity in sorted(found, key=lambda each: each[0].priority):
            if len(chosen) >= max_permits:
                self.has_more = True
                break
            of_tenants: dict[str, list[LimitedJob]] = {}
            for job in rates.allowed(waiting.get(state.key, [])):
                of_tenants.setdefault(job.tenant_id, []).append(job)
            clock = self._clock(state) if state.is_of_several_tenants else FairQueueClock()
            dealt = clock.deal(of_tenants, capacity, cost=lambda _: 1.0, weight=self._fair_queue.weight)
            chosen += rates.charge(dealt)
        rates.write()
        self.wait_seconds = min(self.wait_seconds, rates.wait_seconds)
        return chosen

    def _waiting(self, connection: Connection, found: Sequence[tuple[KeyState, int]]) -> dict[str, list[LimitedJob]]:
        """Return the next jobs of each key: the oldest of each tenant, with the most urgent priority."""
        waiting: dict[str, list[LimitedJob]] = {}
        lines: list[tuple[str, int, str]] = []
        for state, _ in found:
            if state.next_jobs and not self._fair_queue.is_limited(state.tenant_id):
                waiting[state.key] = list(state.next_jobs)
            elif state.is_of_several_tenants:
                held = permit_waits.waiting_tenants(
                    connection, key=state.key, priority=state.priority, limit=_MAX_TENANTS
                )
                lines += [(state.key, state.priority, tenant) for tenant in held]
            else:
                lines.append((state.key, state.priority, state.tenant_id))
        lines = self._with_capacity(connection, lines)
        each = max((capacity for _, capacity in found), default=0)
        for job in permit_waits.waiting_jobs(connection, lines, each=each) if lines else ():
            waiting.setdefault(job.limit_key, []).append(job)
        return waiting

    def _with_capacity(self, connection: Connection, lines: list[tuple[str, int, str]]) -> list[tuple[str, int, str]]:
        """Keep only the lines (key, priority, tenant) of tenants below their limit; the others would leave a permit
        unused.
        """
        if not any(self._fair_queue.is_limited(tenant) for _, _, tenant in lines):
            return lines
        uses = tenants.uses(connection, {tenant for _, _, tenant in lines}, max_running=self._tenant_max_running)
        return [line for line in lines if uses[line[2]].capacity > 0]

    def _clock(self, state: KeyState) -> FairQueueClock:
        if len(self._clocks) > _MAX_CLOCKS:
            self._clocks.clear()
        return self._clocks.setdefault((state.key, state.priority), FairQueueClock())


class _Rates:
    def __init__(
        self, connection: Connection, by_key: Mapping[str, Rate], waiting: Mapping[str, Sequence[LimitedJob]]
    ) -> None:
        self._connection = connection
        self._rates = {
            job.rate_key: by_key[job.limit_key]
            for jobs in waiting.values()
            for job in jobs
            if job.rate_key is not None and job.limit_key in by_key
        }
        self._states = permit_waits.read_rates(connection, self._rates) if self._rates else {}
        self._charged: set[str] = set()
        #: Seconds until the next start of a rate that currently allows none.
        self.wait_seconds = float("inf")

    def allowed(self, jobs: Sequence[LimitedJob]) -> list[LimitedJob]:
        """Return the jobs that may start now under their rates, before further charges."""
        found: list[LimitedJob] = []
        left: dict[str, int] = {}
        for job in jobs:
            if job.rate_key is None or job.rate_key not in self._rates:
                found.append(job)
                continue
            if job.rate_key not in left:
                left[job.rate_key], _ = self._rates[job.rate_key].admit(self._states[job.rate_key], len(jobs))
                if not left[job.rate_key]:
                    self.wait_seconds = min(self.wait_seconds, self._states[job.rate_key].wait_seconds)
            if left[job.rate_key]:
                left[job.rate_key] -= 1
                found.append(job)
        return found

    def charge(self, dealt: Sequence[WaitingJob]) -> list[LimitedJob]:
        found: list[LimitedJob] = []
        for job in dealt:
            assert isinstance(job, LimitedJob)
            if job.rate_key is not None and job.rate_key in self._rates:
                _, self._states[job.rate_key] = self._rates[job.rate_key].admit(self._states[job.rate_key], 1)
                self._charged.add(job.rate_key)
                self.wait_seconds = min(self.wait_seconds, self._states[job.rate_key].wait_seconds)
            found.append(job)
        return found

    def write(self) -> None:
        if self._charged:
            permit_waits.write_rates(
                self._connection, {key: self._states[key].next_at for key in sorted(self._charged)}
            )
