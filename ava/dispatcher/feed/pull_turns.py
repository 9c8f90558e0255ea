"""The order in which the feed fills the windows of pulled jobs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence

from ava.domain.jobs.pull import PullQueue, is_pulled
from ava.store.jobs.feed.looks import Look, Window

#: Seconds of one look in which it begins to feed a queue of pulled jobs. Each tenant can make 2,000 such windows.
_FEED_SECONDS = 0.05


class PullTurns:
    """Queues of pulled jobs, as many as a look has time for: the tenants in turns, whatever one of them makes."""

    def __init__(self) -> None:
        #: The windows that a look has read and none has fed since, by queue.
        self._left: dict[str, Sequence[Window]] = {}
        #: When each queue, and a queue of each tenant, was fed last, as a number that grows.
        self._fed: dict[str, int] = {}
        self._had_turn: dict[str, int] = {}
        self._count = itertools.count(1)

    @property
    def has_more(self) -> bool:
        """Returns True if windows wait for the next look."""
        return bool(self._left)

    def see(self, look: Look, of_queues: Mapping[str, Sequence[Window]]) -> list[str]:
        """Note the windows of a look. Returns the queues whose windows wait to be fed."""
        found = {queue: windows for queue, windows in of_queues.items() if is_pulled(queue)}
        self._left = found if look.is_complete else self._left | found
        return list(self._left)

    def take(self) -> Iterator[tuple[str, Sequence[Window]]]:
        """Yields queues while a look has time: of each tenant the one that was fed longest ago, then the next ones."""
        by_tenant: dict[str, list[str]] = {}
        for queue in sorted(self._left, key=lambda queue: (self._fed.get(queue, 0), queue)):
            by_tenant.setdefault(PullQueue.parse(queue).tenant_id, []).append(queue)
        self._fed = {queue: number for queue, number in self._fed.items() if queue in self._left}
        self._had_turn = {tenant: self._had_turn.get(tenant, 0) for tenant in by_tenant}
        tenants = sorted(by_tenant, key=self._had_turn.__getitem__)
        until = time.monotonic() + _FEED_SECONDS
        for turn in itertools.zip_longest(*(by_tenant[tenant] for tenant in tenants)):
            for tenant, queue in zip(tenants, turn, strict=True):
                if queue is None:
                    continue
                self._fed[queue] = self._had_turn[tenant] = next(self._count)
                yield queue, self._left.pop(queue)
                if time.monotonic() > until:
                    return

    def unchanged(self, look: Look, fed: set[str]) -> set[tuple[str, int]]:
        """Returns the closed windows of pulled jobs that stay closed, because this look has not come to them."""
        closed = (name.rpartition(":") for name in look.closed)
        return {
            (queue, int(number))
            for queue, _, number in closed
            if is_pulled(queue) and queue not in fed and (queue in self._left or not look.is_complete)
        }
