"""State of the feed between two polls: the first job of each window, and the order of the tenants."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ava.domain.jobs.job import Job
from ava.domain.worker import PullQueue, is_pulled
from ava.store.engine.database import Connection
from ava.store.jobs.feed import polls
from ava.store.jobs.feed.polls import Poll, ScanFloor, Window
from ava.store.jobs.rows import job_uuid

#: Seconds above which a poll of all windows is slow. Normally it takes about one millisecond.
_SLOW_SECONDS = 0.05
#: The number of consecutive slow polls after which the feed polls all windows less often.
_SLOW_POLLS = 3
#: The pause between slow polls of all windows: a multiple of their duration, and its maximum in seconds.
_PAUSE_FACTOR = 10
_MAX_PAUSE_SECONDS = 10.0
#: A poll of known windows is useful if it takes less than this share of the time of a poll of all windows.
_MAX_SHARE = 0.5
#: The maximum number of windows that stay known, with or without jobs.
_MAX_KNOWN = 1000
#: With more known windows of pulled jobs than this, only a poll of all windows reads them: a tenant can create
#: thousands.
_MAX_PULLED = 200
#: Seconds that one poll spends on queues of pulled jobs. Each tenant can create 2,000 such windows.
_FEED_SECONDS = 0.05


class KnownWindows:
    """Polls either all windows, or known windows from the position of their first job at the last poll.

    A long-running transaction (such as a dump) keeps PostgreSQL from removing dead index entries, and a poll of all
    windows scans them. Once that is slow, the feed does it rarely and polls known windows in between, at a cost that
    depends only on waiting jobs. Such a poll misses new windows. It also misses older jobs that return to the backlog
    unless `see_returned` or `see_admitted` is called.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], ScanFloor] = {}
        self._slow = 0
        self._complete_seconds = 0.0
        self._complete_at = float("-inf")
        self._has_returned = threading.Event()

    def see_returned(self) -> None:
        """Make the next poll read all windows, because jobs returned to the backlog. Thread-safe."""
        self._has_returned.set()

    def see_admitted(self, jobs: Iterable[Job]) -> None:
        """Make the next poll start at these jobs if they are older than the first job of their window."""
        for job in jobs:
            key, job_id = (job.queue, job.priority), job_uuid(job.id)
            if (known := self._known.get(key)) is None or job_id is None:
                self.see_returned()
            elif job_id < known.job_id:
                self._known[key] = replace(known, job_id=job_id)

    def read(self, connection: Connection, **parameters: Any) -> Poll:
        """Poll the windows. `parameters`: the arguments of `polls.read`."""
        began = time.monotonic()
        if began < self._complete_at and not self._has_returned.is_set():
            return self._read_known(connection, began, **parameters)
        self._has_returned.clear()
        poll = polls.read(connection, **parameters)
        self._judge(time.monotonic() - began)
        if len(self._known) > _MAX_KNOWN:
            self._known.clear()
        self._learn(poll)
        # The index has no dead entries to skip, so the feed reads each window from its start.
        return replace(poll, windows=[replace(window, floor=None) for window in poll.windows])

    def _read_known(self, connection: Connection, began: float, **parameters: Any) -> Poll:
        pulled = {key for key in self._known if is_pulled(key[0])}
        leaves_out = len(pulled) > _MAX_PULLED
        known = {key: floor for key, floor in self._known.items() if not (leaves_out and key in pulled)}
        poll = polls.read(connection, known, **parameters)
        # With a distant or busy server and no dead entries, this poll takes as long as a poll of all windows.
        if time.monotonic() - began > self._complete_seconds * _MAX_SHARE:
            self._slow, self._complete_at = 0, float("-inf")
        self._learn(poll)
        waiting = [window for window in poll.windows if window.published or window.has_backlog]
        return replace(poll, windows=waiting, is_complete=not leaves_out)

    def _judge(self, seconds: float) -> None:
        self._complete_seconds = seconds
        self._slow = self._slow + 1 if seconds > _SLOW_SECONDS else 0
        pause = min(seconds * _PAUSE_FACTOR, _MAX_PAUSE_SECONDS) if self._slow >= _SLOW_POLLS else 0.0
        self._complete_at = time.monotonic() + pause

    def _learn(self, poll: Poll) -> None:
        for window in poll.windows:
            if window.floor is not None:
                self._known[window.queue, window.priority] = window.floor


class PullRoundRobin:
    """Round-robin over the tenants of queues of pulled jobs, within the time of one poll."""

    def __init__(self) -> None:
        #: Windows that are read but not fed yet, by queue.
        self._left: dict[str, Sequence[Window]] = {}
        #: The sequence number of the last feeding of each queue, and of any queue of each tenant.
        self._fed: dict[str, int] = {}
        self._had_turn: dict[str, int] = {}
        self._count = itertools.count(1)

    @property
    def has_more(self) -> bool:
        return bool(self._left)

    def see(self, poll: Poll, of_queues: Mapping[str, Sequence[Window]]) -> list[str]:
        """Record the windows of a poll. Return the queues with windows to feed."""
        found = {queue: windows for queue, windows in of_queues.items() if is_pulled(queue)}
        self._left = found if poll.is_complete else self._left | found
        return list(self._left)

    def take(self) -> Iterator[tuple[str, Sequence[Window]]]:
        """Yield queues until the time is used up: round-robin over tenants, and each tenant's least recently fed queue
        first.
        """
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

    def unchanged(self, poll: Poll, fed: set[str]) -> set[tuple[str, int]]:
        """Return the closed windows of pulled jobs that stay closed, because this poll did not reach them."""
        closed = (name.rpartition(":") for name in poll.closed)
        return {
            (queue, int(number))
            for queue, _, number in closed
            if is_pulled(queue) and queue not in fed and (queue in self._left or not poll.is_complete)
        }
