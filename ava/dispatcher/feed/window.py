"""Duty: fill the broker's windows from the backlog, and close full windows to new messages from the API."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from ava.broker.publisher import Publisher
from ava.dispatcher.feed.admission import MAX_KEYS, Admission
from ava.dispatcher.feed.fair_queue import FairQueue, SizedWindow
from ava.dispatcher.feed.known_windows import KnownWindows, PullRoundRobin
from ava.domain.jobs import priority, run_groups
from ava.domain.jobs.job import Job
from ava.domain.jobs.wait_reasons import WaitsFor
from ava.domain.worker import is_pulled, shown_queue
from ava.errors import BrokerUnavailable, QueueRefused
from ava.store.engine.database import Connection, Database
from ava.store.engine.notices import Notices
from ava.store.fleet import pull_workers, workers
from ava.store.jobs.feed import polls
from ava.store.jobs.feed.polls import Poll, Window
from ava.store.jobs.transitions import park, recall

_JOBS_PER_STATEMENT = 500
#: Maximum jobs of one window that one statement parks, or recalls from the broker.
_MAX_PARKED = 5000
#: A window's messages are redistributed if they exceed its size by this factor, or, just after a second tenant began to
#: wait, if they exceed its size at all.
_EXCESS = 1.5
#: Seconds between two polls, and while several tenants wait in one window.
_POLL_SECONDS = 0.1
_SHARED_SECONDS = 0.07
#: Seconds until the next poll if processes or jobs are waiting for it: admissions or windows of pulled jobs are left
#: over, or the poll fed an empty window or the whole backlog of a window.
_CONTINUED_SECONDS = 0.02
#: Seconds between two reads of the workers that no live node serves.
_UNSERVED_SECONDS = 1.0
#: The pause between scans of a backlog for jobs of such workers, as a multiple of the duration of a scan.
_PASS_FACTOR = 50
#: The API itself publishes to a window with fewer messages than this, however few processes there are. In fuller
#: windows, grouping jobs saves more time than waiting for the next poll costs.
_MIN_OPEN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class _Unserved:
    """The workers of a window that no live node serves."""

    workers: list[str] = field(default_factory=list)
    #: The result is valid until this time, while the number of processes that serve the queue is unchanged.
    until: float = float("-inf")
    processes: int = 0
    #: Time of the next scan of the backlog for more of their jobs.
    pass_at: float = float("-inf")


class WindowFeed:
    """Publishes the backlog into the windows by priority and fair queueing, and closes full windows.

    A window is the set of published messages of one queue and one priority. The API adds no message to a closed window,
    so that no newer job overtakes the backlog. While a window has a backlog, the broker holds no less urgent job of its
    queue.

    Jobs without a live node for their handler are parked, because each message would only occupy a process and return.
    Jobs of a paused queue, and pulled jobs without a live worker, are parked too. Pulled jobs are published without a
    message, so their windows are fed even if the broker is unreachable.

    Without fairness (`AVA_FAIRNESS=off`) jobs are ordered by age, and a window holds up to `AVA_WINDOW` messages.
    """

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        *,
        window: int,
        node_dead_seconds: float,
        is_fair: bool = True,
        tenant_max_running: int | None = None,
        notices: Notices | None = None,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._window = window
        self._node_dead_seconds = node_dead_seconds
        self._is_fair = is_fair
        self._fair_queue = FairQueue(database, max_size=window, is_fair=is_fair, tenant_max_running=tenant_max_running)
        self._admission = Admission(
            database, self._fair_queue, node_dead_seconds=node_dead_seconds, tenant_max_running=tenant_max_running
        )
        self._notices = notices
        self._known = KnownWindows()
        self._pull_round_robin = PullRoundRobin()
        #: Limit keys from notices since the last call.
        self._noticed: set[str] = set()
        #: Time of the next poll of the windows; until then only notices are processed.
        self._poll_at = float("-inf")
        self._is_shared = self._is_awaited = False
        self._unserved: dict[str, _Unserved] = {}
        #: Queues of pulled jobs without a live worker.
        self._unclaimed: frozenset[str] = frozenset()
        #: Windows closed at the last poll; None before the first.
        self._closed: set[tuple[str, int]] | None = None

    def next_poll_seconds(self) -> float:
        return max(0.0, min(self._poll_at - time.monotonic(), self._admission.wait_seconds))

    def wait(self, seconds: float) -> None:
        """Wait for `seconds`, or until a permit becomes free."""
        if self._notices is None:
            time.sleep(seconds)
        else:
            self._noticed |= self._notices.wait(seconds)

    def see_returned(self) -> None:
        """Make the next poll read all windows, because jobs returned to the backlog. Thread-safe."""
        self._known.see_returned()

    def run_once(self, _now: float) -> int:
        """Give permits to waiting jobs, and fill the windows from the backlog.

        Returns the number of jobs that were published.
        """
        noticed, self._noticed = self._noticed, set()
        published = 0
        if noticed and self._closed is not None:
            published = self._send(self._admission.admit(noticed, self._may_publish))
            if time.monotonic() < self._poll_at:
                return published
        published += self._poll()
        self._poll_at = time.monotonic() + self._pause()
        return published

    def _pause(self) -> float:
        """Return the seconds between this poll and the next."""
        if self._admission.has_more or self._pull_round_robin.has_more or self._is_awaited:
            return _CONTINUED_SECONDS
        return _SHARED_SECONDS if self._is_shared else _POLL_SECONDS

    def _may_publish(self, tenant_id: str, queue: str, number: int) -> bool:
        """Return True if an admitted job may be published immediately: no other job waits before it."""
        is_open = self._closed is not None and (queue, number) not in self._closed
        return is_open and not self._fair_queue.is_limited(tenant_id)

    def _send(self, admitted: Sequence[Job]) -> int:
        """Publish the jobs that are marked as published. Returns their number."""
        self._known.see_admitted(job for job in admitted if job.published_at is None)
        marked = [job for job in admitted if job.published_at is not None]
        return len(marked) if marked and self._publish(marked) else 0

    def _poll(self) -> int:
        """Poll all windows and keys once. Returns the number of jobs that were published."""
        with self._database.connect() as connection:
            poll = self._read(connection)
            has_changed = self._fair_queue.begin(connection, poll.windows)
        published = 0
        failure: BrokerUnavailable | None = None
        if admitted := self._admission.poll(poll.limit_keys, self._may_publish):
            try:
                published += self._send(admitted)
            except BrokerUnavailable as error:
                failure = error
            with self._database.connect() as connection:
                poll = self._read(connection)
        closed: set[tuple[str, int]] = set()
        self._is_shared = self._is_awaited = False
        of_queues = _by_queue(poll.windows)
        published += self._feed_pulled(of_queues, poll, closed, has_changed=has_changed)
        if failure is not None:
            raise failure
        for queue, of_queue in of_queues.items():
            if not is_pulled(queue):
                published += self._feed_queue(queue, of_queue, poll, closed, has_changed=has_changed)
        closed |= {(queue, number) for queue in poll.paused for number in _priorities()}
        self._close(closed, poll.closed)
        self._closed = closed
        return published

    def _feed_pulled(
        self, of_queues: Mapping[str, Sequence[Window]], poll: Poll, closed: set[tuple[str, int]], *, has_changed: bool
    ) -> int:
        """Feed queues of pulled jobs until the time is used up. Returns the number of jobs that were published."""
        waiting = self._pull_round_robin.see(poll, of_queues)
        self._unclaimed = self._find_unclaimed(waiting) if waiting else frozenset()
        published, fed = 0, set[str]()
        for queue, of_queue in self._pull_round_robin.take():
            fed.add(queue)
            published += self._feed_queue(queue, of_queue, poll, closed, has_changed=has_changed)
        closed |= self._pull_round_robin.unchanged(poll, fed)
        return published

    def _find_unclaimed(self, pulled: Collection[str]) -> frozenset[str]:
        with self._database.connect() as connection:
            return frozenset(pulled) - pull_workers.live(connection, pulled)

    def _read(self, connection: Connection) -> Poll:
        return self._known.read(
            connection,
            count_up_to=self._window,
            dead_after_seconds=self._node_dead_seconds,
            after_key=self._admission.last_key,
            max_keys=MAX_KEYS,
        )

    def _feed_queue(
        self, queue: str, windows: Sequence[Window], poll: Poll, closed: set[tuple[str, int]], *, has_changed: bool
    ) -> int:
        """Feed the windows of one queue, the most urgent first, and add the windows to close to `closed`.

        Returns the number of jobs that were published.
        """
        processes = poll.processes.get(queue, 0)
        sizes = {window.priority: self._fair_queue.size(window, processes=processes) for window in windows}
        self._is_shared = self._is_shared or any(sized.is_shared for sized in sizes.values())
        if shown_queue(queue) in poll.paused:
            self._park_queue(queue, self._empty(queue, windows), WaitsFor.QUEUE)
            return 0
        if queue in self._unclaimed:
            self._park_queue(queue, self._empty(queue, windows), WaitsFor.NODE)
            return 0
        # Close its windows, so that the API does not try a queue that the broker refuses.
        if self._publisher.is_refused(queue):
            closed |= {(queue, window.priority) for window in windows}
            return 0
        if has_changed or (self._is_fair and _is_to_be_dealt_anew(windows, sizes)):
            windows = self._empty(queue, windows)
        total = 0
        for window in windows:
            if (queue, window.priority) in closed:
                # A more urgent job is waiting for capacity in its window.
                self._recall_all(window)
                continue
            fed, is_closed, has_more = self._feed(window, sizes[window.priority], processes)
            total += fed
            if has_more and self._is_fair:
                closed |= {(queue, number) for number in _priorities() if number >= window.priority}
            elif is_closed:
                closed.add((queue, window.priority))
        return total

    def _empty(self, queue: str, windows: Sequence[Window]) -> list[Window]:
        """Recall all messages of a queue. Returns the updated windows.

        Messages are deleted before jobs are recalled, so that the recall includes the jobs of all deleted messages. The
        claim drops messages that a node has already received.
        """
        if any(window.published for window in windows):
            self._publisher.purge(queue)
        return [
            replace(
                window,
                published=0,
                has_backlog=self._recall_all(window) > 0 or window.has_backlog,
                only_tenant=None,
                floor=None,
            )
            for window in windows
        ]

    def _feed(self, window: Window, sized: SizedWindow, processes: int) -> tuple[int, bool, bool]:
        """Publish jobs by fair queueing until the window is full.

        Returns the number of jobs, whether to close the window, and whether it still has a backlog.
        """
        unserved, published, fed = self._park_unserved(window, processes), window.published, 0
        has_more, size = window.has_backlog, sized.size
        while has_more and (capacity := min(size - published - fed, _JOBS_PER_STATEMENT)) > 0:
            batch, has_more = self._fair_queue.publish(window, capacity, unserved)
            waiting = published + fed + len(batch)
            sizes = self._group_sizes(batch, waiting, processes, is_shared=sized.is_shared)
            if not batch or not self._publish(batch, sizes):
                break
            fed += len(batch)
        self._fair_queue.fed(window, published=published + fed, has_backlog=has_more)
        self._is_awaited |= fed > 0 and (published == 0 or not has_more)
        is_open = published + fed < min(size, max(_MIN_OPEN, 2 * processes))
        return fed, has_more or not is_open, has_more

    def _group_sizes(self, batch: Sequence[Job], waiting: int, processes: int, *, is_shared: bool) -> Mapping[str, int]:
        if not processes:
            return run_groups.NONE
        return self._fair_queue.group_sizes(batch, waiting, processes, is_shared=is_shared)

    def _publish(self, batch: Sequence[Job], group_sizes: Mapping[str, int] = run_groups.NONE) -> bool:
        """Publish jobs. If the broker refuses their queue, return them to the backlog and return False."""
        try:
            self._publisher.publish(batch, group_sizes)
        except BrokerUnavailable as error:
            with self._database.connect() as connection:
                recall.recall_unsent(connection, batch)
            self._known.see_admitted(batch)
            if isinstance(error, QueueRefused):
                return False
            raise
        return True

    def _park_unserved(self, window: Window, processes: int) -> list[str]:
        """Park jobs that no live node can run, at most once per second. Returns their workers."""
        if not window.has_backlog or is_pulled(window.queue):
            return []
        known, began = self._unserved.get(window.name, _Unserved()), time.monotonic()
        if began < known.until and known.processes == processes:
            return known.workers
        with self._database.connect() as connection:
            found = workers.unserved(connection, queue=window.queue, dead_after_seconds=self._node_dead_seconds)
            until, pass_at = began + _UNSERVED_SECONDS, known.pass_at
            if found and (began >= pass_at or found != known.workers):
                count = park.park_backlog(
                    connection,
                    WaitsFor.NODE,
                    queue=window.queue,
                    priority=window.priority,
                    workers=found,
                    limit=_MAX_PARKED,
                )
                pass_at = time.monotonic() + (time.monotonic() - began) * _PASS_FACTOR
                if count == _MAX_PARKED:
                    # The next poll continues with the remaining jobs.
                    until = pass_at = began
        self._unserved[window.name] = _Unserved(processes=processes, until=until, workers=found, pass_at=pass_at)
        return found

    def _park_queue(self, queue: str, windows: Sequence[Window], reason: WaitsFor) -> None:
        """Park the backlog of a queue; the next poll continues with the remaining jobs."""
        for window in windows:
            if window.has_backlog:
                with self._database.connect() as connection:
                    park.park_backlog(connection, reason, queue=queue, priority=window.priority, limit=_MAX_PARKED)

    def _recall_all(self, window: Window) -> int:
        """Recall every message of a window. Returns their number."""
        recalled, count = 0, _MAX_PARKED if window.published else 0
        while count == _MAX_PARKED:
            count = self._fair_queue.recall(window, _MAX_PARKED)
            recalled += count
        if recalled:
            self._known.see_returned()
        return recalled

    def _close(self, closed: Collection[tuple[str, int]], stored: Collection[str]) -> None:
        # Compare with the stored set, because another dispatcher may have been active in between.
        if stored != {f"{queue}:{number}" for queue, number in closed}:
            with self._database.connect() as connection:
                polls.write_closed(connection, closed)


def _is_to_be_dealt_anew(windows: Sequence[Window], sizes: Mapping[int, SizedWindow]) -> bool:
    """Return True if the messages of a queue must be redistributed.

    That is: a window exceeds its size while several tenants wait, or a full window has a backlog while less urgent jobs
    are in the broker.
    """
    is_full = False
    for window in windows:
        sized = sizes[window.priority]
        max_published = sized.size * (1 if sized.is_newly_shared else _EXCESS)
        if (is_full and window.published) or (sized.is_shared and window.published > max_published):
            return True
        is_full = is_full or (window.has_backlog and window.published >= sized.size)
    return False


def _by_queue(windows: Iterable[Window]) -> dict[str, list[Window]]:
    ordered = sorted(windows, key=lambda w: (w.queue, w.priority))
    return {queue: list(of_queue) for queue, of_queue in groupby(ordered, key=lambda w: w.queue)}


def _priorities() -> Iterable[int]:
    return range(priority.FIRST, priority.LAST + 1)
