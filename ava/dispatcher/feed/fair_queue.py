"""Fair queueing: decide how many messages a window may hold, and which tenants' jobs they are."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ava.domain.jobs import run_groups
from ava.domain.jobs.job import Job
from ava.domain.limits.fair_queueing import DEFAULT_WEIGHT, FairQueueClock, WaitingJob, by_age
from ava.domain.limits.window_size import WindowSize
from ava.store.engine.database import Connection, Database
from ava.store.fleet import tenants
from ava.store.fleet.tenants import FairQueueRules
from ava.store.jobs.feed import tenant_backlogs
from ava.store.jobs.feed.polls import Window
from ava.store.jobs.transitions import permits, publish, recall

#: Maximum tenants of a window in one poll. If there are more, the next poll continues after them.
_MAX_TENANTS = 200
_MIN_TENANTS = 20
_MAX_EACH = 500
#: Groups of tenants in one poll; the next group is read only if all tenants of a group are at their limits.
_MAX_GROUPS = 25
#: Cost of a worker's job before any has ended, and the minimum cost of a job: its claim and its end.
_UNKNOWN_COST_SECONDS = 0.05
_MIN_COST_SECONDS = 0.002
_RULES_SECONDS = 1.0
COSTS_SECONDS = 5.0
#: New workers whose latest jobs a poll reads, so that short jobs are grouped early.
_MAX_NEW = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class SizedWindow:
    """The number of unstarted messages that a window may currently hold."""

    size: int
    #: Whether several tenants wait in it now, and whether this is new since the previous poll.
    is_shared: bool
    is_newly_shared: bool


class FairQueue:
    """Chooses the next jobs of windows by fair queueing of their tenants. Only the active dispatcher has this state.

    A dispatcher that becomes active starts with equal clocks: no tenant gains or loses more than one window.
    """

    def __init__(
        self, database: Database, *, max_size: int, is_fair: bool = True, tenant_max_running: int | None = None
    ) -> None:
        """`max_size`: messages per window. `tenant_max_running`: the default limit of a tenant.

        Without `is_fair` the oldest job is first.
        """
        self._database = database
        self._max_size = max_size
        self._is_fair = is_fair
        self._tenant_max_running = tenant_max_running
        self._rules = FairQueueRules(weights={}, limited=frozenset())
        self._rules_version: tuple[int, datetime | None] = (0, None)
        self._clocks: dict[str, FairQueueClock] = {}
        self._sizes: dict[str, WindowSize] = {}
        #: The last tenant of each window in the previous poll, if more tenants follow.
        self._last_tenants: dict[str, str] = {}
        self._costs: dict[str, float] = {}
        #: Workers with enough counted jobs, and the (tenant, worker) pairs of others, whose costs the next poll reads.
        self._counted: frozenset[str] = frozenset()
        self._new: set[tuple[str, str]] = set()
        self._rules_at = self._costs_at = float("-inf")

    def begin(self, connection: Connection, windows: Collection[Window]) -> bool:
        """Begin a poll: read weights, limits and costs if they are stale, and forget deleted windows.

        Returns True if tenants' limits have changed since the last poll, or exist at the first poll.
        """
        has_changed = False
        now, names = time.monotonic(), {window.name for window in windows}
        if now - self._rules_at > _RULES_SECONDS:
            has_changed, self._rules_at = self._read_rules(connection), now
        if self._new:
            self._costs |= tenant_backlogs.latest_costs(connection, self._new)
            self._new.clear()
        if now - self._costs_at > COSTS_SECONDS:
            (self._costs, self._counted), self._costs_at = tenant_backlogs.costs(connection), now
        for known in (self._clocks, self._sizes, self._last_tenants):
            for name in known.keys() - names:
                del known[name]
        return has_changed

    def _read_rules(self, connection: Connection) -> bool:
        version, is_first = tenants.rules_version(connection), self._rules_at == float("-inf")
        has_changed = version != self._rules_version
        if has_changed:
            self._rules, self._rules_version = tenants.fair_queue_rules(connection), version
        return has_changed or (is_first and self.has_limits)

    def size(self, window: Window, *, processes: int) -> SizedWindow:
        known = self._sizes.setdefault(window.name, WindowSize(self._max_size))
        size = known.poll(time.monotonic(), published=window.published, processes=processes, is_shared=window.is_shared)
        if not self._is_fair:
            # Without fairness no messages are redistributed, so windows need not be small.
            size = self._max_size
        return SizedWindow(size=size, is_shared=window.is_shared, is_newly_shared=known.is_newly_shared)

    def recall(self, window: Window, limit: int) -> int:
        """Recall the most recently published messages. Returns the number of their jobs."""
        with self._database.connect() as connection:
            recalled = recall.recall_window(connection, queue=window.queue, priority=window.priority, limit=limit)
        if (clock := self._clocks.get(window.name)) is not None:
            for job in recalled:
                clock.refund(job.tenant_id, self._cost(job) / self.weight(job.tenant_id))
        return len(recalled)

    @property
    def has_limits(self) -> bool:
        return self._tenant_max_running is not None or bool(self._rules.limited)

    def is_limited(self, tenant_id: str) -> bool:
        return self._tenant_max_running is not None or tenant_id in self._rules.limited

    def publish(self, window: Window, capacity: int, unserved: Collection[str]) -> tuple[list[Job], bool]:
        """Mark up to `capacity` jobs of a window's backlog as published, in fair order.

        Returns the jobs to publish, and True if further jobs could be published with more capacity. Running and
        published jobs of limited tenants are counted in the same transaction, under the lock of all limits.
        """
        with self._database.transaction() if self.has_limits else self._database.connect() as connection:
            if self.has_limits:
                permits.lock(connection)
            chosen, has_more = self._choose(connection, window, capacity, unserved)
            return publish.publish(connection, chosen) if chosen else [], has_more

    def _choose(
        self, connection: Connection, window: Window, capacity: int, unserved: Collection[str]
    ) -> tuple[list[WaitingJob], bool]:
        found, capacities, are_all = self._tenants(connection, window, capacity)
        if not found:
            return [], False
        # Twice an equal share, because weights and costs differ, plus one job that shows whether more are waiting.
        each = min(capacity, _MAX_EACH, 2 * math.ceil(capacity / len(found))) + 1
        heads = tenant_backlogs.heads(
            connection,
            queue=window.queue,
            priority=window.priority,
            tenants=found,
            each=each,
            unserved=unserved,
            from_id=window.floor.job_id if window.floor else None,
        )
        waiting = {tenant_id: jobs[: capacities.get(tenant_id, each)] for tenant_id, jobs in heads.items()}
        chosen = self._deal(window, waiting, capacity, each=each)
        known = sum(map(len, waiting.values()))
        may_be_more = any(len(jobs) == each for jobs in waiting.values())
        return chosen, known > len(chosen) or may_be_more or not are_all

    def _deal(
        self, window: Window, waiting: Mapping[str, Sequence[WaitingJob]], capacity: int, *, each: int
    ) -> list[WaitingJob]:
        if not self._is_fair:
            return by_age(waiting, capacity, each=each)
        clock = self._clocks.setdefault(window.name, FairQueueClock())
        return clock.deal(waiting, capacity, cost=self._cost, weight=self.weight)

    def _tenants(self, connection: Connection, window: Window, capacity: int) -> tuple[list[str], dict[str, int], bool]:
        """Return tenants of a window that may publish more jobs, each limited tenant's capacity, and True if these are
        all.
        """
        if window.only_tenant is not None:
            capacities = self._capacities(connection, window, [window.only_tenant])
            return [window.only_tenant] if capacities.get(window.only_tenant, 1) > 0 else [], capacities, True
        for _ in range(_MAX_GROUPS):
            after = self._last_tenants.pop(window.name, "")
            # After a first group, read few tenants: a poll need not consider many more than it publishes.
            limit = min(_MAX_TENANTS, max(_MIN_TENANTS, 2 * capacity)) if after else _MAX_TENANTS
            found = tenant_backlogs.tenants(
                connection, queue=window.queue, priority=window.priority, after=after, limit=limit
            )
            are_all = len(found) < limit
            if not are_all:
                self._last_tenants[window.name] = found[-1]
            capacities = self._capacities(connection, window, found)
            free = [tenant_id for tenant_id in found if capacities.get(tenant_id, 1) > 0]
            if free or are_all:
                return free, capacities, are_all
        return [], {}, True

    def _capacities(self, connection: Connection, window: Window, tenant_ids: Sequence[str]) -> dict[str, int]:
        """Return how many more jobs each limited tenant may publish.

        If a tenant has no capacity left, its less urgent published jobs return to the backlog.
        """
        limited = [tenant_id for tenant_id in tenant_ids if self.is_limited(tenant_id)]
        if not limited:
            return {}
        uses = tenants.uses(connection, limited, max_running=self._tenant_max_running)
        capacities = {tenant_id: use.capacity for tenant_id, use in uses.items()}
        for tenant_id, use in uses.items():
            if use.capacity <= 0 and use.least_urgent is not None and use.least_urgent > window.priority:
                capacities[tenant_id] += recall.recall_of_tenant(
                    connection, tenant_id=tenant_id, priority=window.priority, limit=_MAX_EACH
                )
        return capacities

    def group_sizes(
        self, batch: Sequence[Job], waiting: int, processes: int, *, is_shared: bool = False
    ) -> Mapping[str, int]:
        """Return the maximum number of jobs per message, by worker id: several if the jobs are short.

        `waiting`: published jobs of the window, including the batch. `processes`: processes that serve the queue.
        `is_shared`: whether jobs of several tenants wait in the window.
        """
        known = {job.worker_id: self._costs.get(job.worker_id) for job in batch}
        new = {(job.tenant_id, job.worker_id) for job in batch if job.worker_id not in self._counted}
        unknown_first = sorted(new, key=lambda each: known[each[1]] is not None)
        self._new.update(itertools.islice(unknown_first, max(0, _MAX_NEW - len(self._new))))
        return {
            worker_id: run_groups.size(seconds, waiting=waiting, processes=processes, is_shared=is_shared)
            for worker_id, seconds in known.items()
            if seconds is not None
        }

    def fed(self, window: Window, *, published: int, has_backlog: bool) -> None:
        """Record how many messages the window has after a poll, and whether it still has a backlog."""
        self._sizes[window.name].fed(published=published, has_backlog=has_backlog)

    def _cost(self, job: WaitingJob | Job) -> float:
        return max(_MIN_COST_SECONDS, self._costs.get(job.worker_id, _UNKNOWN_COST_SECONDS))

    def weight(self, tenant_id: str) -> float:
        return self._rules.weights.get(tenant_id, DEFAULT_WEIGHT)
