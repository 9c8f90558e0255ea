"""What one window gets next: how many messages it may have, and whose jobs they are."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ava.domain.jobs import run_groups
from ava.domain.jobs.job import Job
from ava.domain.limits.fair_queue import DEFAULT_WEIGHT, TurnClock, WaitingJob, by_age
from ava.domain.limits.window_size import WindowSize
from ava.store.engine.database import Connection, Database
from ava.store.fleet import tenants
from ava.store.fleet.tenants import TurnRules
from ava.store.jobs.feed import fair_queue
from ava.store.jobs.feed.looks import Window
from ava.store.jobs.moves import permits, publish, recall

#: Tenants of a window that one look considers. If there are more, the next look continues after them.
_MAX_TENANTS = 200
_MIN_TENANTS = 20
#: Jobs of one tenant that are read at once.
_MAX_EACH = 500
#: Groups of tenants that one look considers, while each tenant of a group has as many running jobs as its limit.
_MAX_GROUPS = 25
#: The cost of a worker's job before any has ended, in seconds, and the least cost of any: a claim, and the job's end.
_UNKNOWN_COST_SECONDS = 0.05
_MIN_COST_SECONDS = 0.002
#: Seconds between two reads of what is set for tenants.
_RULES_SECONDS = 1.0
#: Seconds between two reads of the costs.
COSTS_SECONDS = 5.0
#: The most new workers whose latest jobs a look reads, so that their brief jobs are soon grouped.
_MAX_NEW = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class SizedWindow:
    """How many unstarted messages a window may have at one moment."""

    size: int
    #: Whether several tenants wait in it, and whether only one did at the look before.
    is_shared: bool
    is_newly_shared: bool


class FairQueue:
    """Chooses the next jobs of windows by turns of their tenants. Its state is the active dispatcher's alone.

    Another dispatcher that becomes active begins with equal clocks: no tenant gains or loses more than one window.
    """

    def __init__(
        self, database: Database, *, max_size: int, is_fair: bool = True, tenant_max_running: int | None = None
    ) -> None:
        """`max_size`: the messages of one window. `tenant_max_running`: of a tenant without a limit of its own.

        Without `is_fair` the oldest job is first.
        """
        self._database = database
        self._max_size = max_size
        self._is_fair = is_fair
        self._tenant_max_running = tenant_max_running
        self._rules = TurnRules(weights={}, limited=frozenset())
        self._rules_version: tuple[int, datetime | None] = (0, None)
        self._clocks: dict[str, TurnClock] = {}
        self._sizes: dict[str, WindowSize] = {}
        #: The last tenant of each window that the look before considered, if there were more.
        self._last_tenants: dict[str, str] = {}
        self._costs: dict[str, float] = {}
        #: The workers of which many jobs are counted, and others, with tenants, whose cost the next look reads.
        self._counted: frozenset[str] = frozenset()
        self._new: set[tuple[str, str]] = set()
        self._rules_at = self._costs_at = float("-inf")

    def begin(self, connection: Connection, windows: Collection[Window]) -> bool:
        """Begin a look: read weights, limits and costs if they are old, and forget windows that are gone.

        Returns True if limits of tenants have changed since the last look, or this is the first and there are any.
        """
        has_changed = False
        now, names = time.monotonic(), {window.name for window in windows}
        if now - self._rules_at > _RULES_SECONDS:
            has_changed, self._rules_at = self._read_rules(connection), now
        if self._new:
            self._costs |= fair_queue.latest_costs(connection, self._new)
            self._new.clear()
        if now - self._costs_at > COSTS_SECONDS:
            (self._costs, self._counted), self._costs_at = fair_queue.costs(connection), now
        for known in (self._clocks, self._sizes, self._last_tenants):
            for name in known.keys() - names:
                del known[name]
        return has_changed

    def _read_rules(self, connection: Connection) -> bool:
        version, is_first = tenants.rules_version(connection), self._rules_at == float("-inf")
        has_changed = version != self._rules_version
        if has_changed:
            self._rules, self._rules_version = tenants.turn_rules(connection), version
        return has_changed or (is_first and self.has_limits)

    def size(self, window: Window, *, processes: int) -> SizedWindow:
        """Returns how many unstarted messages the window may have now."""
        known = self._sizes.setdefault(window.name, WindowSize(self._max_size))
        size = known.look(time.monotonic(), published=window.published, processes=processes, is_shared=window.is_shared)
        if not self._is_fair:
            # Nothing in the broker is dealt anew, so a window need not be small.
            size = self._max_size
        return SizedWindow(size=size, is_shared=window.is_shared, is_newly_shared=known.is_newly_shared)

    def recall(self, window: Window, limit: int) -> int:
        """Return the messages that were published last to the backlog. Returns the number of their jobs."""
        with self._database.connect() as connection:
            recalled = recall.recall_window(connection, queue=window.queue, priority=window.priority, limit=limit)
        if (clock := self._clocks.get(window.name)) is not None:
            for job in recalled:
                clock.refund(job.tenant_id, self._cost(job) / self.weight(job.tenant_id))
        return len(recalled)

    @property
    def has_limits(self) -> bool:
        """Returns True if the number of running jobs of some tenants is limited."""
        return self._tenant_max_running is not None or bool(self._rules.limited)

    def is_limited(self, tenant_id: str) -> bool:
        """Returns True if the number of running jobs of a tenant is limited."""
        return self._tenant_max_running is not None or tenant_id in self._rules.limited

    def publish(self, window: Window, room: int, unserved: Collection[str]) -> tuple[list[Job], bool]:
        """Mark up to `room` jobs of a window's backlog as published, in the order of the turns.

        Returns them for publishing, and True if more wait that could be published if there were room. Running and
        published jobs of limited tenants are counted in the same transaction, under the lock of all limits.
        """
        with self._database.transaction() if self.has_limits else self._database.connect() as connection:
            if self.has_limits:
                permits.lock(connection)
            chosen, has_more = self._choose(connection, window, room, unserved)
            return publish.publish(connection, chosen) if chosen else [], has_more

    def _choose(
        self, connection: Connection, window: Window, room: int, unserved: Collection[str]
    ) -> tuple[list[WaitingJob], bool]:
        found, rooms, are_all = self._tenants(connection, window, room)
        if not found:
            return [], False
        # Twice an equal share, because weights and costs differ, and one more to see whether more wait.
        each = min(room, _MAX_EACH, 2 * math.ceil(room / len(found))) + 1
        heads = fair_queue.heads(
            connection,
            queue=window.queue,
            priority=window.priority,
            tenants=found,
            each=each,
            unserved=unserved,
            from_id=window.floor.job_id if window.floor else None,
        )
        waiting = {tenant_id: jobs[: rooms.get(tenant_id, each)] for tenant_id, jobs in heads.items()}
        chosen = self._deal(window, waiting, room, each=each)
        known = sum(map(len, waiting.values()))
        may_be_more = any(len(jobs) == each for jobs in waiting.values())
        return chosen, known > len(chosen) or may_be_more or not are_all

    def _deal(
        self, window: Window, waiting: Mapping[str, Sequence[WaitingJob]], room: int, *, each: int
    ) -> list[WaitingJob]:
        if not self._is_fair:
            return by_age(waiting, room, each=each)
        clock = self._clocks.setdefault(window.name, TurnClock())
        return clock.deal(waiting, room, cost=self._cost, weight=self.weight)

    def _tenants(self, connection: Connection, window: Window, room: int) -> tuple[list[str], dict[str, int], bool]:
        """Returns tenants of a window that may have more published jobs, how many, and True if these are all.

        How many is known of limited tenants only.
        """
        if window.only_tenant is not None:
            rooms = self._rooms(connection, window, [window.only_tenant])
            return [window.only_tenant] if rooms.get(window.only_tenant, 1) > 0 else [], rooms, True
        for _ in range(_MAX_GROUPS):
            after = self._last_tenants.pop(window.name, "")
            # While there are more than one look considers, a look need not consider many more than it publishes.
            limit = min(_MAX_TENANTS, max(_MIN_TENANTS, 2 * room)) if after else _MAX_TENANTS
            found = fair_queue.tenants(
                connection, queue=window.queue, priority=window.priority, after=after, limit=limit
            )
            are_all = len(found) < limit
            if not are_all:
                self._last_tenants[window.name] = found[-1]
            rooms = self._rooms(connection, window, found)
            free = [tenant_id for tenant_id in found if rooms.get(tenant_id, 1) > 0]
            if free or are_all:
                return free, rooms, are_all
        return [], {}, True

    def _rooms(self, connection: Connection, window: Window, tenant_ids: Sequence[str]) -> dict[str, int]:
        """Returns how many more jobs of each limited tenant may be published.

        If a tenant has no room, those of its published jobs that are less urgent return to the backlog.
        """
        limited = [tenant_id for tenant_id in tenant_ids if self.is_limited(tenant_id)]
        if not limited:
            return {}
        uses = tenants.uses(connection, limited, max_running=self._tenant_max_running)
        rooms = {tenant_id: use.room for tenant_id, use in uses.items()}
        for tenant_id, use in uses.items():
            if use.room <= 0 and use.least_urgent is not None and use.least_urgent > window.priority:
                rooms[tenant_id] += recall.recall_of_tenant(
                    connection, tenant_id=tenant_id, priority=window.priority, limit=_MAX_EACH
                )
        return rooms

    def group_sizes(
        self, batch: Sequence[Job], waiting: int, processes: int, *, is_shared: bool = False
    ) -> Mapping[str, int]:
        """Returns for how many jobs of a batch one message may stand, by worker id: several if they are brief.

        `waiting`: the published jobs of the window with the batch, `processes`: those that serve the queue,
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
        """Record what the window has after a look, and whether more waits for it."""
        self._sizes[window.name].fed(published=published, has_backlog=has_backlog)

    def _cost(self, job: WaitingJob | Job) -> float:
        return max(_MIN_COST_SECONDS, self._costs.get(job.worker_id, _UNKNOWN_COST_SECONDS))

    def weight(self, tenant_id: str) -> float:
        """Returns the weight of a tenant's turns."""
        return self._rules.weights.get(tenant_id, DEFAULT_WEIGHT)
