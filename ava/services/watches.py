"""Watching jobs: any number of watchers in a process share one look at the database every 150 ms.

A watcher costs an entry here and a thread (under gevent, a greenlet) that sleeps; not a connection, not a statement.
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

#: Undelivered news after which a follower that reads slowly is left alone until it has caught up.
_MOST_UNREAD = 2_000
#: Seconds between two looks whether a client is still there.
_GONE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchUpdate:
    """One thing that a follower has to tell; exactly one of these is set."""

    line: LogLine | None = None
    #: The job's status, run or wish to be cancelled is not what it was.
    status: WatchedState | None = None
    #: The job's progress is not what it was.
    progress: WatchedState | None = None
    #: The job is final, and all of its lines have been told.
    ended: Job | None = None


class _Waiter:
    """Somebody who waits for a job to be final."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.job: Job | None = None
        self.woken = threading.Event()


class Follower:
    """Somebody who wants to hear all of a job: its lines after a place, its states, its end."""

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
        """Whether it has so much unread that it gets nothing more for now."""
        return len(self._unread) > _MOST_UNREAD

    def hear(self, lines: Sequence[LogLine], state: WatchedState | None) -> None:
        """Take in what one look has found; the end comes after the last line."""
        if state is not None:
            self._see(state)
        for line in lines:
            self._unread.append(WatchUpdate(line=line))
            self.after_seq = line.seq
        if self.final is not None and len(lines) < MOST_LINES:
            self._see(_state(self.number, self.final))
            self._unread.append(WatchUpdate(ended=self.final))
        if self._unread:
            self._woken.set()

    def _see(self, state: WatchedState) -> None:
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
        """Have `read` return."""
        self._woken.set()

    def read(self, seconds: float) -> list[WatchUpdate]:
        """All that is unread; waits for it at most so long."""
        self._woken.wait(seconds)
        self._woken.clear()
        return [self._unread.popleft() for _ in range(len(self._unread))]


class Watches:
    """All watchers of one process, and the thread that looks for them."""

    #: Seconds between two looks, and the fewest, where somebody has begun to follow and should not wait so long.
    interval_seconds = 0.15
    gap_seconds = 0.03

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._waiters: set[_Waiter] = set()
        self._followers: dict[int, Follower] = {}
        self._numbers = itertools.count(1)
        self._thread: threading.Thread | None = None
        self._begun = threading.Event()
        self._closing = threading.Event()

    @property
    def is_closing(self) -> bool:
        """Whether the process is stopping, so that nobody should wait any longer."""
        return self._closing.is_set()

    def wait(self, job_id: str, seconds: float, is_gone: Callable[[], bool]) -> Job | None:
        """Wait until a job is final; None where it was not in time, the client is gone, or the process stops."""
        waiter = _Waiter(job_id)
        deadline = time.monotonic() + seconds
        self._add(waiter)
        try:
            while (left := deadline - time.monotonic()) > 0:
                if waiter.woken.wait(min(left, _GONE_SECONDS)) or self.is_closing or is_gone():
                    break
        finally:
            with self._lock:
                self._waiters.discard(waiter)
        return waiter.job

    @contextmanager
    def follow(self, job: Job, after_seq: int) -> Iterator[Follower]:
        """Follow a job, from what was seen of it and the place after a line of its log."""
        follower = Follower(next(self._numbers), job, after_seq)
        self._add(follower)
        try:
            yield follower
        finally:
            with self._lock:
                self._followers.pop(follower.number, None)

    def close(self) -> None:
        """Let every watcher go."""
        self._closing.set()
        self._begun.set()
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
                self._begun.set()
            else:
                self._waiters.add(watcher)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look_on, name="watches", daemon=True)
                self._thread.start()

    def _look_on(self) -> None:
        """Look again and again, as long as there is somebody to look for."""
        while not self._closing.wait(self.gap_seconds):
            self._begun.wait(self.interval_seconds - self.gap_seconds)
            self._begun.clear()
            with self._lock:
                if not self._waiters and not self._followers:
                    self._thread = None
                    return
            try:
                while self._look():
                    pass
            except DatabaseUnavailable:
                # The watchers wait on; each finds out by itself when its time is over.
                self._closing.wait(1.0)
            except Exception:
                _log.exception("A look at the watched jobs failed.")
                self._closing.wait(1.0)

    def _look(self) -> bool:
        """Look once, for all; whether there is more to be read at once."""
        with self._lock:
            waiters = list(self._waiters)
            followers = [follower for follower in self._followers.values() if not follower.is_behind]
        open_followers = [follower for follower in followers if follower.final is None]
        job_ids = {waiter.job_id for waiter in waiters} | {follower.job_id for follower in open_followers}
        with self._database.connect() as connection:
            # In this order: what is final has written its last line before it was found to be final.
            final = {job.id: job for job in watch_reads.final_jobs(connection, list(job_ids))} if job_ids else {}
            states = _by_number(connection, open_followers) if open_followers else {}
            places = [LogPosition(number=f.number, job_id=f.job_id, after_seq=f.after_seq) for f in followers]
            lines = watch_reads.lines_after(connection, places) if places else {}
        for waiter in waiters:
            if waiter.job_id in final:
                waiter.job = final[waiter.job_id]
                waiter.woken.set()
        return self._tell(followers, final, states, lines)

    def _tell(
        self,
        followers: Sequence[Follower],
        final: dict[str, Job],
        states: dict[int, WatchedState],
        lines: dict[int, list[LogLine]],
    ) -> bool:
        for follower in followers:
            follower.final = follower.final or final.get(follower.job_id)
            follower.hear(lines.get(follower.number, ()), states.get(follower.number))
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
