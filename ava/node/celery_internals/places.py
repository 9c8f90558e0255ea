"""The places of a node's pool: what Celery counts as taken is compared with what the children really do.

A place that nothing explains would be missing for ever. No known fault leaves one behind; this is for the unknown ones.
It runs in the event loop, between whose callbacks all of these numbers agree.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator
from typing import Any

from celery.worker.state import reserved_requests

__all__ = ["CHECK_SECONDS", "Places"]

_log = logging.getLogger(__name__)

#: Seconds between two looks.
CHECK_SECONDS = 2.0
#: Looks in a row that have to find the same before it is corrected.
_LOOKS = 3


class Places:
    """Finds and corrects what is taken in a pool although no job takes it."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._looks: dict[Hashable, int] = {}

    def check(self) -> int:
        """Look once, and correct what the last looks found as well. Returns the number of corrections."""
        found = dict(self._find())
        self._looks = {key: self._looks.get(key, 0) + 1 for key in found}
        lost = [key for key, looks in self._looks.items() if looks >= _LOOKS]
        for key in lost:
            del self._looks[key]
            kind, what = found[key]
            _log.error("Pool: a %s was taken by no job, it is free again", kind)
            self._free(kind, what)
        return len(lost)

    def _find(self) -> Iterator[tuple[Hashable, tuple[str, Any]]]:
        """Yields what no job explains: a key that stays the same, its kind, and what is to be freed."""
        results = [result for result in self._pool._cache.values() if not result.ready()]
        slots = self._pool._putlock
        taken = sum(not getattr(result, "is_soon_free", False) for result in results)
        for number in range(slots.initial_value - slots.value - taken):
            yield ("slot", number), ("slot", None)
        explained = {process.inqW_fd for it in results for process in (it._write_to, it._scheduled_for) if process}
        for inqueue in self._pool._busy_workers - explained:
            yield ("process", inqueue), ("process", inqueue)
        can_run = self._pool._all_inqueues - self._pool._busy_workers or not any(it.accepted() for it in results)
        for result in results:
            if can_run and not result.accepted():
                yield ("message", result._job), ("message", result)
        yield from self._find_requests(results)

    def _find_requests(self, results: list[Any]) -> Iterator[tuple[Hashable, tuple[str, Any]]]:
        known = {id(result._accept_callback.__self__) for result in results}
        known |= {id(request) for _, (request, *_), _ in self._pool._putlock._waiting}
        for request in list(reserved_requests):
            if id(request) not in known:
                yield ("request", request.id), ("request", request)

    def _free(self, kind: str, what: Any) -> None:
        if kind == "slot":
            self._pool._putlock.release()
        elif kind == "process":
            self._pool._busy_workers.discard(what)
        elif kind == "message":
            self._free_message(what)
        else:
            what.give_up()

    def _free_message(self, result: Any) -> None:
        self._pool._cache.pop(result._job, None)
        if result in self._pool.outbound_buffer:
            self._pool.outbound_buffer.remove(result)
        self._pool._putlock.release()
        result._accept_callback.__self__.give_up()
