"""What tenants may have in total: how many queued jobs, without a counter that every job would have to maintain."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from ava.domain.limits import TENANT_QUEUED_JOBS
from ava.errors import TooMany
from ava.store.engine.database import Connection
from ava.store.reports import usage

__all__ = ["QueuedJobsQuota"]

#: Seconds after which a count is too old.
_COUNT_SECONDS = 10.0
#: Seconds between two counts of a tenant that has reached its limit.
_FULL_SECONDS = 1.0
#: A process accepts this part of what is left, an eighth, before it counts again; so many processes keep the limit.
_PART = 8
#: If no more is left than this, a process accepts all of it.
_FEW = 64
#: The most tenants whose counts are held.
_MOST_TENANTS = 10_000


@dataclass(kw_only=True)
class _QueuedCount:
    read_at: float
    #: How many jobs more the tenant may have, as far as this process knows.
    left: int
    #: How many of them this process accepts before it counts again.
    budget: int


class QueuedJobsQuota:
    """Refuses jobs of a tenant that has too many queued ones.

    A tenant that is far from its limit costs a look into a dictionary. The limit is exceeded by no more than several
    processes accept in the same moment.
    """

    def __init__(self, most: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, _QueuedCount] = OrderedDict()

    def admit(self, connection: Connection, tenant_id: str, jobs: int) -> None:
        """Raises `TooMany` if the tenant may not have so many queued jobs more."""
        if self._most is None:
            return
        now = self._clock()
        with self._lock:
            known = self._counts.get(tenant_id)
            if known is not None and now - known.read_at <= _COUNT_SECONDS:
                if jobs <= known.budget:
                    known.budget -= jobs
                    known.left -= jobs
                    return
                if jobs > known.left and now - known.read_at <= _FULL_SECONDS:
                    raise self._refusal(known.left)
        left = self._most - usage.queued_jobs(connection, tenant_id=tenant_id, limit=self._most)
        taken = jobs if jobs <= left else 0
        budget = left if left <= _FEW else left // _PART
        with self._lock:
            self._counts[tenant_id] = _QueuedCount(read_at=now, left=left - taken, budget=max(0, budget - taken))
            if len(self._counts) > _MOST_TENANTS:
                self._counts.popitem(last=False)
        if not taken:
            raise self._refusal(left)

    def _refusal(self, left: int) -> TooMany:
        sentence = f"This tenant may have {self._most:,} queued jobs, {left:,} more at the moment; try again shortly."
        return TooMany(TENANT_QUEUED_JOBS.says(sentence), retry_after_seconds=round(_FULL_SECONDS))
