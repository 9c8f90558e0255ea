"""Watching jobs: all watchers of a process share one poll of the database every 150 ms.

A watcher costs an entry here and a sleeping thread (under gevent, a greenlet), but no connection and no statement.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ava.domain.job import Job, LogLine
from ava.errors import DatabaseUnavailable
from ava.store.engine.database import Connection, Database
from ava.store.jobs import watch_reads
from ava.store.jobs.watch_reads import MOST_LINES, LogPosition, WatchedState

__all__ = ["Follower", "WatchUpdate", "Watches"]

_log = logging.getLogger(__name__)

#: The most unread updates of a follower; one that reads more slowly gets no more until it has caught up.
_MOST_UNREAD = 2_000
#: Seconds between two checks whether the client has closed its connection.
_CLIENT_CHECK_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchUpdate:
    """One change of a followed job; exactly one field is set."""

    #: A new line of its log.
    line: LogLine | None = None
    #: Its status, run or cancel request has changed.
    status: WatchedState | None = None
    #: Its progress has changed.
    progress: WatchedState | None = None
    #: It is final, and all of its lines have been read.
    ended: Job | None = None


class _Waiter:
    """A watcher that waits until a job is final."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.job: Job | None = None
        self.woken = threading.Event()


class Follower:
    """A watcher that reads everything of a job: its lines after `after_seq`, its states, its end."""

    def __init__(self, number: int, job: Job, after_seq: int) -> None:
        self.number = number
        self.job_id = job.id
        self.after_seq = after_seq
        self.seen = _state(number, job)
        self.final: Job | None = None
        self._unread: deque[WatchUpdate] = deque()
        self._woken = threading.Event()

    @property
    def is_behind(self) -> bool:
        """True if it has so many unread updates that it gets no more for now."""
        return len(self._unread) > _MOST_UNREAD

    def receive(self, lines: Sequence[LogLine], state: WatchedState | None) -> None:
        """Add what one poll has found; the end comes after the last line."""
        if state is not None:
            self._compare(state)
        for line in lines:
            self._unread.append(WatchUpdate(line=line))
            self.after_seq = line.seq
        if self.final is not None and len(lines) < MOST_LINES:
            self._compare(_state(self.number, self.final))
            self._unread.append(WatchUpdate(ended=self.final))
        if self._unread:
            self._woken.set()

    def _compare(self, state: WatchedState) -> None:
        before, self.seen = self.seen, state
        if state.progress_json not in (None, before.progress_json):
            self._unread.append(WatchUpdate(progress=state))
        if (state.status, state.run_no, state.is_cancel_requested) != (
            before.status,
            before.run_no,
            before.is_cancel_requested,
        ):
            self._unread.append(WatchUpdate(status=state))

    def wake(self) -> None:
        """Make `read` return."""
        self._woken.set()

    def read(self, seconds: float) -> list[WatchUpdate]:
        """Returns all unread updates; waits up to `seconds` for the first."""
        self._woken.wait(seconds)
        self._woken.clear()
        return [self._unread.popleft() for _ in range(len(self._unread))]


class Watches:
    """All watchers of one process, and the thread that polls for them."""

    #: Seconds between two polls.
    interval_seconds = 0.15
    #: The least seconds between two polls: a new follower is served sooner than the interval.
    gap_seconds = 0.03

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._waiters: set[_Waiter] = set()
        self._followers: dict[int, Follower] = {}
        self._numbers = itertools.count(1)
        self._thread: threading.Thread | None = None
        self._poll_now = threading.Event()
        self._closing = threading.Event()

    @property
    def is_closing(self) -> bool:
        """True if the process is stopping, so that watchers should stop waiting."""
        return self._closing.is_set()

    def wait(self, job_id: str, seconds: float, is_gone: Callable[[], bool]) -> Job | None:
        """Wait until a job is final. Returns None if time is up, the client is gone, or the process stops."""
        waiter = _Waiter(job_id)
        deadline = time.monotonic() + seconds
        self._add(waiter)
        try:
            while (left := deadline - time.monotonic()) > 0:
                if waiter.woken.wait(min(left, _CLIENT_CHECK_SECONDS)) or self.is_closing or is_gone():
                    break
        finally:
            with self._lock:
                self._waiters.discard(waiter)
        return waiter.job

    @contextmanager
    def follow(self, job: Job, after_seq: int) -> Iterator[Follower]:
        """Follow a job from the state in `job` and the line after `after_seq`."""
        follower = Follower(next(self._numbers), job, after_seq)
        self._add(follower)
        try:
            yield follower
        finally:
            with self._lock:
                self._followers.pop(follower.number, None)

    def close(self) -> None:
        """End every watch."""
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
                self._poll_now.set()
            else:
                self._waiters.add(watcher)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watches", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        """Poll again and again, as long as there are watchers."""
        while not self._closing.wait(self.gap_seconds):
            self._poll_now.wait(self.interval_seconds - self.gap_seconds)
            self._poll_now.clear()
            with self._lock:
                if not self._waiters and not self._followers:
                    self._thread = None
                    return
            try:
                while self._poll():
                    pass
            except DatabaseUnavailable:
                # The watchers go on waiting; each ends by itself when its time is up.
                self._closing.wait(1.0)
            except Exception:
                _log.exception("Watches: poll failed, will retry")
                self._closing.wait(1.0)

    def _poll(self) -> bool:
        """Poll once for all watchers. Returns True if there are more lines to read at once."""
        with self._lock:
            waiters = list(self._waiters)
            followers = [follower for follower in self._followers.values() if not follower.is_behind]
        open_followers = [follower for follower in followers if follower.final is None]
        job_ids = {waiter.job_id for waiter in waiters} | {follower.job_id for follower in open_followers}
        with self._database.connect() as connection:
            # In this order: a job that is found final has its last line written already.
            final = {job.id: job for job in watch_reads.final_jobs(connection, list(job_ids))} if job_ids else {}
            states = _by_number(connection, open_followers) if open_followers else {}
            places = [LogPosition(number=f.number, job_id=f.job_id, after_seq=f.after_seq) for f in followers]
            lines = watch_reads.lines_after(connection, places) if places else {}
        for waiter in waiters:
            if waiter.job_id in final:
                waiter.job = final[waiter.job_id]
                waiter.woken.set()
        return self._deliver(followers, final, states, lines)

    def _deliver(
        self,
        followers: Sequence[Follower],
        final: dict[str, Job],
        states: dict[int, WatchedState],
        lines: dict[int, list[LogLine]],
    ) -> bool:
        for follower in followers:
            follower.final = follower.final or final.get(follower.job_id)
            follower.receive(lines.get(follower.number, ()), states.get(follower.number))
            if follower.final is not None and len(lines.get(follower.number, ())) < MOST_LINES:
                with self._lock:
                    self._followers.pop(follower.number, None)
        return any(len(found) == MOST_LINES for found in lines.values())


def _by_number(connection: Connection, followers: Sequence[Follower]) -> dict[int, WatchedState]:
    found = watch_reads.changed_states(connection, [follower.seen for follower in followers])
    return {state.number: state for state in found}


def _state(number: int, job: Job) -> WatchedState:
    return WatchedState(
        number=number,
        job_id=job.id,
        status=job.status,
        run_no=job.run_no,
        attempt=job.attempt,
        is_cancel_requested=job.cancel_requested_at is not None,
        progress_json=job.progress_json,
    )
