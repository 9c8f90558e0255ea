"""Watch jobs: all watchers of a process share one database poll every 150 ms.

A watcher costs an entry here, a bounded buffer and a sleeping thread (under gevent, a greenlet), but no connection and
no statement. A follower that is new, or has emptied its buffer, gets its next lines earlier than the others. Followers
of a job at the same position share one read and its lines.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ava.domain.jobs.job import Job, JobKey
from ava.errors import DatabaseUnavailable
from ava.services.followers import Follower
from ava.store.containments import records
from ava.store.engine.database import Connection, Database
from ava.store.jobs import bulk_operations
from ava.store.jobs.reads import watches
from ava.store.jobs.reads.watches import LogPosition, WatchedState
from ava.store.jobs.rows import FoundLines

_log = logging.getLogger(__name__)

#: Max log positions per statement, which bounds the bytes that it returns.
_POSITIONS_AT_ONCE = 128
#: Seconds between two checks whether the client has disconnected.
_CLIENT_CHECK_SECONDS = 5.0


class _Waiter:
    def __init__(self, tenant_id: str, watched_id: str) -> None:
        self.key = JobKey(tenant_id, watched_id)
        #: `job`, `op` (a bulk operation) or `con` (a containment).
        self.kind = watched_id.partition("_")[0]
        self.is_final = False
        self.woken = threading.Event()


class Watches:
    interval_seconds = 0.15
    #: Min seconds between two reads: followers that ask for lines need not wait for the interval.
    gap_seconds = 0.03

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._waiters: set[_Waiter] = set()
        self._followers: dict[int, Follower] = {}
        self._asking: set[int] = set()
        self._numbers = itertools.count(1)
        self._thread: threading.Thread | None = None
        self._poll_now = threading.Event()
        self._closing = threading.Event()

    @property
    def is_closing(self) -> bool:
        return self._closing.is_set()

    def wait(self, watched_id: str, seconds: float, is_disconnected: Callable[[], bool], *, tenant_id: str) -> bool:
        """Wait until the tenant's job is final, its bulk operation has ended, or its containment is complete or ended.

        Return False on timeout, disconnect of the client, or shutdown.
        """
        waiter = _Waiter(tenant_id, watched_id)
        deadline = time.monotonic() + seconds
        self._add(waiter)
        try:
            while (left := deadline - time.monotonic()) > 0:
                if waiter.woken.wait(min(left, _CLIENT_CHECK_SECONDS)) or self.is_closing or is_disconnected():
                    break
        finally:
            with self._lock:
                self._waiters.discard(waiter)
        return waiter.is_final

    @contextmanager
    def follow(self, job: Job, after_seq: int) -> Iterator[Follower]:
        """Follow a job from the state in `job` and the line after `after_seq`."""
        number = next(self._numbers)
        follower = Follower(number, job, after_seq, lambda: self._ask(number))
        self._add(follower)
        try:
            yield follower
        finally:
            with self._lock:
                self._followers.pop(follower.number, None)

    def close(self) -> None:
        self._closing.set()
        self._poll_now.set()
        with self._lock:
            waiters, followers = list(self._waiters), list(self._followers.values())
        for waiter in waiters:
            waiter.woken.set()
        for follower in followers:
            follower.wake()

    def _add(self, watcher: _Waiter | Follower) -> None:
        with self._lock:
            if isinstance(watcher, Follower):
                self._followers[watcher.number] = watcher
                # Its job's state has just been read, so read only its lines.
                if watcher.may_have_lines or watcher.final is not None:
                    self._asking.add(watcher.number)
                    self._poll_now.set()
            else:
                self._waiters.add(watcher)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watches", daemon=True)
                self._thread.start()

    def _ask(self, number: int) -> None:
        with self._lock:
            self._asking.add(number)
        self._poll_now.set()

    def _run(self) -> None:
        all_at = time.monotonic() + self.interval_seconds
        while not self._closing.wait(self.gap_seconds):
            self._poll_now.wait(max(0.0, all_at - time.monotonic()))
            self._poll_now.clear()
            is_for_all = time.monotonic() >= all_at
            if is_for_all:
                all_at = time.monotonic() + self.interval_seconds
            with self._lock:
                if not self._waiters and not self._followers:
                    self._thread = None
                    return
                waiters = list(self._waiters) if is_for_all else []
                followers = [each for each in self._followers.values() if is_for_all or each.number in self._asking]
                self._asking.clear()
            try:
                self._poll(waiters, followers, reads_states=is_for_all, until=all_at)
            except DatabaseUnavailable:
                # The watchers keep waiting; each ends with its own timeout.
                self._closing.wait(1.0)
            except Exception:
                _log.exception("Watches: poll failed, will retry")
                self._closing.wait(1.0)

    def _poll(
        self, waiters: Sequence[_Waiter], followers: Sequence[Follower], *, reads_states: bool, until: float
    ) -> None:
        """Poll for these watchers; then keep reading for followers with more lines until the next full poll."""
        reading = [each for each in followers if not each.is_lagging]
        while waiters or reading:
            with self._database.connect() as connection:
                # Read states before lines: the last line of a final job is already written.
                states = self._read_states(connection, waiters, reading) if reads_states else {}
                self._read_lines(connection, reading, states)
            waiters, reads_states = (), False
            reading = [
                each for each in reading if each.has_more and not each.is_lagging and each.number in self._followers
            ]
            if time.monotonic() >= until:
                for each in reading:
                    self._ask(each.number)
                return

    def _read_states(
        self, connection: Connection, waiters: Sequence[_Waiter], followers: Sequence[Follower]
    ) -> dict[int, WatchedState]:
        """Wake satisfied waiters. Return the jobs' new states by the numbers of their followers."""
        open_followers = [follower for follower in followers if follower.final is None]
        keys: dict[str, set[JobKey]] = {kind: set() for kind in ("job", "op", "con")}
        for waiter in waiters:
            keys[waiter.kind].add(waiter.key)
        jobs = keys["job"] | {follower.job for follower in open_followers}
        final = watches.final_states(connection, jobs) if jobs else {}
        states = _by_number(connection, open_followers) if open_followers else {}
        ended = bulk_operations.ended(connection, keys["op"]) if keys["op"] else set()
        if keys["con"]:
            ended |= records.settled(connection, keys["con"])
        for waiter in waiters:
            if waiter.key in final or waiter.key.id in ended:
                waiter.is_final = True
                waiter.woken.set()
        for follower in followers:
            follower.final = follower.final or final.get(follower.job)
        return states

    def _read_lines(
        self, connection: Connection, followers: Sequence[Follower], states: dict[int, WatchedState]
    ) -> None:
        """Read new lines, once for all followers at a position, and deliver them with the new states."""
        at: dict[tuple[JobKey, int], list[Follower]] = {}
        for follower in followers:
            at.setdefault((follower.job, follower.after_seq), []).append(follower)
        positions = [
            LogPosition(number=number, job=job, after_seq=after_seq) for number, (job, after_seq) in enumerate(at)
        ]
        for first in range(0, len(positions), _POSITIONS_AT_ONCE):
            batch = positions[first : first + _POSITIONS_AT_ONCE]
            found = watches.lines_after(connection, batch)
            for position in batch:
                for follower in at[position.job, position.after_seq]:
                    self._deliver(follower, found.get(position.number), states.get(follower.number))

    def _deliver(self, follower: Follower, found: FoundLines | None, state: WatchedState | None) -> None:
        if found is None:
            follower.receive((), state, has_more=False)
        else:
            follower.receive(found.lines, state, has_more=found.has_more)
        if follower.has_ended:
            with self._lock:
                self._followers.pop(follower.number, None)


def _by_number(connection: Connection, followers: Sequence[Follower]) -> dict[int, WatchedState]:
    """Return the new states by follower number; followers with the same last state share one read."""
    at: dict[WatchedState, list[Follower]] = {}
    for follower in followers:
        at.setdefault(replace(follower.seen, number=0), []).append(follower)
    groups = list(at.values())
    seen = [replace(state, number=number) for number, state in enumerate(at)]
    return {
        follower.number: replace(state, number=follower.number)
        for state in watches.changed_states(connection, seen)
        for follower in groups[state.number]
    }
