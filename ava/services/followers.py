"""Followers: watchers that read all changes of a job, each with a bounded buffer."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ava.domain.jobs.job import Job, LogLine
from ava.domain.limits.table import STREAM_BUFFER_BYTES
from ava.store.jobs.reads.watches import WatchedState

#: `read` returns after this many bytes, because updates being sent need memory a second time.
_READ_BYTES = 2**15
_UPDATE_BYTES = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchUpdate:
    """A change of a followed job; exactly one field is set."""

    line: LogLine | None = None
    #: A changed status, run or cancel request.
    status: WatchedState | None = None
    progress: WatchedState | None = None
    #: The job is final, and all its lines were read.
    is_end: bool = False

    @property
    def size(self) -> int:
        content = self.line.msg if self.line is not None else self.progress and self.progress.progress_json
        return _UPDATE_BYTES + (sys.getsizeof(content) if content else 0)


class Follower:
    """A watcher that reads all changes of a job: its lines after `after_seq`, its states, its end."""

    def __init__(self, number: int, job: Job, after_seq: int, request_poll: Callable[[], None]) -> None:
        self.number = number
        self.job = job.key
        self.after_seq = after_seq
        self.seen = _state(number, job)
        #: The job's last state, once it is final.
        self.final: WatchedState | None = self.seen if job.is_final else None
        #: Whether it lacks lines because its buffer is full.
        self.has_more = False
        self.has_ended = False
        self._request_poll = request_poll
        self._unread: deque[WatchUpdate] = deque()
        self._unread_bytes = 0
        self._woken = threading.Event()

    @property
    def unread_bytes(self) -> int:
        return self._unread_bytes

    @property
    def may_have_lines(self) -> bool:
        return self.seen.run_no > 0

    @property
    def is_lagging(self) -> bool:
        """True if its buffer is full, so that it receives nothing for now."""
        return self._unread_bytes >= STREAM_BUFFER_BYTES.value

    def receive(self, lines: Sequence[LogLine], state: WatchedState | None, *, has_more: bool) -> None:
        """Buffer the results of a poll; the end follows the last line."""
        if state is not None:
            self._compare(state)
        for line in lines:
            self._add(WatchUpdate(line=line))
            self.after_seq = line.seq
        self.has_more = has_more
        if self.final is not None and not has_more:
            self._compare(replace(self.final, number=self.number))
            self._add(WatchUpdate(is_end=True))
            self.has_ended = True
        if self._unread:
            self._woken.set()

    def _add(self, update: WatchUpdate) -> None:
        self._unread.append(update)
        self._unread_bytes += update.size

    def _compare(self, state: WatchedState) -> None:
        before, self.seen = self.seen, state
        if state.progress_json not in (None, before.progress_json):
            self._add(WatchUpdate(progress=state))
        if (state.status, state.run_no, state.is_cancel_requested) != (
            before.status,
            before.run_no,
            before.is_cancel_requested,
        ):
            self._add(WatchUpdate(status=state))

    def wake(self) -> None:
        """Make `read` return."""
        self._woken.set()

    def read(self, seconds: float) -> list[WatchUpdate]:
        """Return unread updates, oldest first, up to `_READ_BYTES`; wait up to `seconds` for the first."""
        self._woken.wait(seconds)
        self._woken.clear()
        updates: list[WatchUpdate] = []
        size = 0
        while self._unread and size < _READ_BYTES:
            updates.append(self._unread.popleft())
            size += updates[-1].size
        self._unread_bytes -= size
        if self._unread:
            self._woken.set()
        elif self.has_more:
            self._request_poll()
        return updates


def _state(number: int, job: Job) -> WatchedState:
    return WatchedState(
        number=number,
        job=job.key,
        status=job.status,
        run_no=job.run_no,
        attempt=job.attempt,
        is_cancel_requested=job.cancel_requested_at is not None,
        progress_json=job.progress_json,
    )
