"""Detect leaks in a node's pool: compare the resources that Celery counts as in use with the children's actual jobs.

No known fault leaks a slot, a child or a message. If one does, a metric triggers an alert and nothing is repaired. The
check runs in the event loop, where the counts are consistent between callbacks.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Any

from celery.worker.state import reserved_requests

from ava.metrics.counters import POOL_LEAKS

_log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
#: Consecutive checks that must find the same leak before it counts.
_CHECKS = 3
_KINDS = ("slot", "process", "message", "request")


class PoolLeaks:
    def __init__(self, pool: Any) -> None:
        self._pool = pool
        #: How many consecutive checks found each leaked resource, by kind and identity.
        self._checks: dict[tuple[str, Hashable], int] = {}

    def check(self) -> int:
        """Report the leaks to the metrics. Returns their number."""
        self._checks = {found: self._checks.get(found, 0) + 1 for found in self._find()}
        for (kind, _), checks in self._checks.items():
            if checks == _CHECKS:
                _log.error("Pool: a %s is occupied without a job", kind)
        leaks = Counter(kind for (kind, _), checks in self._checks.items() if checks >= _CHECKS)
        for kind in _KINDS:
            POOL_LEAKS.labels(kind).set(leaks[kind])
        return leaks.total()

    def _find(self) -> Iterator[tuple[str, Hashable]]:
        """Yield the kind and identity of each resource in use that no job explains."""
        results = [result for result in self._pool._cache.values() if not result.ready()]
        slots = self._pool._putlock
        taken = sum(not getattr(result, "is_soon_free", False) for result in results)
        for number in range(slots.initial_value - slots.value - taken):
            yield "slot", number
        explained = {process.inqW_fd for it in results for process in (it._write_to, it._scheduled_for) if process}
        for inqueue in self._pool._busy_workers - explained:
            yield "process", inqueue
        can_run = self._pool._all_inqueues - self._pool._busy_workers or not any(it.accepted() for it in results)
        for result in results:
            if can_run and not result.accepted():
                yield "message", result._job
        known = {id(result._accept_callback.__self__) for result in results}
        known |= {id(request) for _, (request, *_), _ in slots._waiting}
        for request in list(reserved_requests):
            if id(request) not in known:
                yield "request", request.id
