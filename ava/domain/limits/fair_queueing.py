"""Fair queueing: choose the tenant that publishes the next job in a window.

The algorithm is start-time fair queueing (Goyal, Vin, Cheng, 1996): each tenant has a clock, which a job advances by
its cost divided by the tenant's weight, and the tenant with the lowest clock is next. An idle tenant does not save up
turns, and a tenant cannot avoid the cost of a long job by waiting.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

DEFAULT_WEIGHT = 1.0
#: Max clocks before outdated ones are dropped.
_MAX_CLOCKS = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingJob:
    #: A UUID as a string; ids are ordered by age.
    id: str
    tenant_id: str
    worker_id: str


@dataclass(kw_only=True, slots=True)
class _Clock:
    #: The start of the tenant's next job, in seconds of processor time divided by its weight.
    at: float
    turn: int


class FairQueueClock:
    """The clocks of a window's tenants, in the memory of the active dispatcher."""

    def __init__(self) -> None:
        self._clocks: dict[str, _Clock] = {}
        #: The window's clock; idle tenants start at it.
        self._now = 0.0
        self._turn = 0

    def deal(
        self,
        waiting: Mapping[str, Sequence[WaitingJob]],
        capacity: int,
        *,
        cost: Callable[[WaitingJob], float],
        weight: Callable[[str], float],
    ) -> list[WaitingJob]:
        """Return up to `capacity` jobs in fair order, and charge their tenants.

        `waiting` has each tenant's next jobs in order. A tenant without further jobs there is skipped; if it has more,
        its low clock gives it the first turns of the next deal.
        """
        heads = [(*self._rank(tenant_id), 0) for tenant_id, jobs in waiting.items() if jobs]
        heapq.heapify(heads)
        dealt: list[WaitingJob] = []
        while heads and len(dealt) < capacity:
            _, _, tenant_id, index = heads[0]
            jobs = waiting[tenant_id]
            dealt.append(jobs[index])
            self._charge(tenant_id, cost(jobs[index]) / weight(tenant_id))
            if index + 1 < len(jobs):
                heapq.heapreplace(heads, (*self._rank(tenant_id), index + 1))
            else:
                heapq.heappop(heads)
        self._forget()
        return dealt

    def refund(self, tenant_id: str, seconds: float) -> None:
        """Refund the cost of a job that returns to the backlog; `seconds` is its cost divided by the weight."""
        if (clock := self._clocks.get(tenant_id)) is not None:
            clock.at -= seconds
            self._now = min(self._now, clock.at)

    def _rank(self, tenant_id: str) -> tuple[float, int, str]:
        clock = self._clocks.get(tenant_id)
        return (self._now, 0, tenant_id) if clock is None else (max(self._now, clock.at), clock.turn, tenant_id)

    def _charge(self, tenant_id: str, seconds: float) -> None:
        self._turn += 1
        clock = self._clocks.setdefault(tenant_id, _Clock(at=self._now, turn=0))
        self._now = max(self._now, clock.at)
        clock.at, clock.turn = self._now + seconds, self._turn

    def _forget(self) -> None:
        if len(self._clocks) > _MAX_CLOCKS:
            self._clocks = {tenant: clock for tenant, clock in self._clocks.items() if clock.at > self._now}


def by_age(waiting: Mapping[str, Sequence[WaitingJob]], capacity: int, *, each: int) -> list[WaitingJob]:
    """Return up to `capacity` jobs of any tenant, oldest first.

    At most `each` jobs of a tenant were read. An unread job of such a tenant may be older than other tenants' jobs that
    are younger than its last read one, so leave these jobs for the next call.
    """
    until = min((jobs[-1].id for jobs in waiting.values() if len(jobs) >= each), default=None)
    jobs = (job for jobs in waiting.values() for job in jobs if until is None or job.id <= until)
    return sorted(jobs, key=lambda job: job.id)[:capacity]
