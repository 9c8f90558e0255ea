"""What the feed keeps from one look at the windows to the next: where each begins, and whose turn it is."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ava.domain.jobs.job import Job
from ava.domain.jobs.pull import PullQueue, is_pulled
from ava.store.engine.database import Connection
from ava.store.jobs.feed import looks
from ava.store.jobs.feed.looks import Look, ScanFloor, Window
from ava.store.jobs.rows import job_uuid

#: A complete look that takes longer is slow, in seconds; normally it takes about one millisecond.
_SLOW_SECONDS = 0.05
#: So many slow complete looks in a row are not the machine's chance.
_SLOW_LOOKS = 3
#: A slow complete look is repeated after so many times its duration, and after so many seconds at most.
_PAUSE_FACTOR = 10
_MAX_PAUSE_SECONDS = 10.0
#: A look at known windows is worth its while if it takes less than this share of a complete one.
_MAX_SHARE = 0.5
#: Windows that are known while they have no jobs.
_MAX_KNOWN = 1000
#: With more known windows of pulled jobs than this only complete looks read them, because tenants make as many as they
#: like.
_MAX_PULLED = 200
#: Seconds of one look in which it begins to feed a queue of pulled jobs. Each tenant can make 2,000 such windows.
_FEED_SECONDS = 0.05


class KnownWindows:
    """Reads looks: of everything, or of known windows from where their jobs began at the look before.

    While a snapshot is held (by a dump, say), PostgreSQL cannot remove the index entries of jobs that have moved on,
    and a complete look passes all of them. Once complete looks are slow, they become rare, and those in between cost
    what waits. These miss windows that never had a job, and older jobs that have come back unless `see_returned` or
    `see_admitted` is called.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], ScanFloor] = {}
        self._slow = 0
        self._complete_seconds = 0.0
        self._complete_at = float("-inf")
        self._has_returned = threading.Event()

    def see_returned(self) -> None:
        """Make the next look complete, because jobs have come back. Any thread may call it."""
        self._has_returned.set()

    def see_admitted(self, jobs: Iterable[Job]) -> None:
        """Let the next look begin before these jobs, which may be older than those that wait."""
        for job in jobs:
            key, job_id = (job.queue, job.priority), job_uuid(job.id)
            if (known := self._known.get(key)) is None or job_id is None:
                self.see_returned()
            elif job_id < known.job_id:
                self._known[key] = replace(known, job_id=job_id)

    def read(self, connection: Connection, **parameters: Any) -> Look:
        """Return a look; `parameters` are those of `looks.read`."""
        began = time.monotonic()
        if began < self._complete_at and not self._has_returned.is_set():
            return self._read_known(connection, began, **parameters)
        self._has_returned.clear()
        look = looks.read(connection, **parameters)
        self._judge(time.monotonic() - began)
        if len(self._known) > _MAX_KNOWN:
            self._known.clear()
        self._learn(look)
        # No entry is in the way, so the feed reads them from their first one.
        return replace(look, windows=[replace(window, floor=None) for window in look.windows])

    def _read_known(self, connection: Connection, began: float, **parameters: Any) -> Look:
        pulled = {key for key in self._known if is_pulled(key[0])}
        leaves_out = len(pulled) > _MAX_PULLED
        known = {key: floor for key, floor in self._known.items() if not (leaves_out and key in pulled)}
        look = looks.read(connection, known, **parameters)
        # If the server is far away or busy, and no entry is in the way, such a look is as slow as a complete one.
        if time.monotonic() - began > self._complete_seconds * _MAX_SHARE:
            self._slow, self._complete_at = 0, float("-inf")
        self._learn(look)
        waiting = [window for window in look.windows if window.published or window.has_backlog]
        return replace(look, windows=waiting, is_complete=not leaves_out)

    def _judge(self, seconds: float) -> None:
        """Decide after a complete look when the next one is due."""
        self._complete_seconds = seconds
        self._slow = self._slow + 1 if seconds > _SLOW_SECONDS else 0
        pause = min(seconds * _PAUSE_FACTOR, _MAX_PAUSE_SECONDS) if self._slow >= _SLOW_LOOKS else 0.0
        self._complete_at = time.monotonic() + pause

    def _learn(self, look: Look) -> None:
        for window in look.windows:
            if window.floor is not None:
                self._known[window.queue, window.priority] = window.floor


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
