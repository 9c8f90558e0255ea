"""Turns: which tenant's job is published next, among those that wait in one window.

This is start-time fair queueing (Goyal, Vin, Cheng, 1996): each tenant has a clock that its jobs move on by their cost
over its weight, and the tenant whose clock is the furthest behind comes next. A tenant that has had nothing to do does
not save turns, and a tenant that has just had a long job does not get rid of it by waiting.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

DEFAULT_WEIGHT = 1.0
#: Clocks that are kept before those that no longer count are dropped.
_MAX_CLOCKS = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingJob:
    """A job that may be published now."""

    #: A UUID as text; ids are ordered by age.
    id: str
    tenant_id: str
    worker_id: str


@dataclass(kw_only=True, slots=True)
class _Clock:
    #: When the tenant's next job begins, in seconds of processor time over its weight.
    at: float
    #: The number of the turn that it had last.
    turn: int


class TurnClock:
    """The clocks of the tenants of one window, in the memory of the active dispatcher."""

    def __init__(self) -> None:
        self._clocks: dict[str, _Clock] = {}
        #: The clock of the window: where a tenant begins that has had nothing to do.
        self._now = 0.0
        self._turn = 0

    def deal(
        self,
        waiting: Mapping[str, Sequence[WaitingJob]],
        room: int,
        *,
        cost: Callable[[WaitingJob], float],
        weight: Callable[[str], float],
    ) -> list[WaitingJob]:
        """Returns up to `room` jobs in the order of the turns, and charges their tenants.

        `waiting` has each tenant's next jobs in their order. A tenant whose jobs are used up is left out; if more of
        its jobs wait, its clock gives it the first turns of the next deal.
        """
        heads = [(*self._rank(tenant_id), 0) for tenant_id, jobs in waiting.items() if jobs]
        heapq.heapify(heads)
        dealt: list[WaitingJob] = []
        while heads and len(dealt) < room:
            _, _, tenant_id, place = heads[0]
            jobs = waiting[tenant_id]
            dealt.append(jobs[place])
            self._charge(tenant_id, cost(jobs[place]) / weight(tenant_id))
            if place + 1 < len(jobs):
                heapq.heapreplace(heads, (*self._rank(tenant_id), place + 1))
            else:
                heapq.heappop(heads)
        self._forget()
        return dealt

    def refund(self, tenant_id: str, seconds: float) -> None:
        """Give back what a job was charged that returns to the backlog; `seconds` is its cost over the weight."""
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


def by_age(waiting: Mapping[str, Sequence[WaitingJob]], room: int, *, each: int) -> list[WaitingJob]:
    """Returns up to `room` jobs, the oldest first, of any tenant.

    `each` jobs of a tenant were read at most. Its next one may be older than jobs of other tenants that are younger
    than its last one that was read, so those are left for the next call.
    """
    until = min((jobs[-1].id for jobs in waiting.values() if len(jobs) >= each), default=None)
    jobs = (job for jobs in waiting.values() for job in jobs if until is None or job.id <= until)
    return sorted(jobs, key=lambda job: job.id)[:room]
