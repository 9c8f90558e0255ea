"""What runs in a child of Celery's prefork pool, which here may be given its next message before its job is over.

A child says when its handler has ended, before it writes the run's end. Its next message is fetched meanwhile, and
where messages follow close on each other the child takes it ahead: then one statement ends one run and claims the next.

Where such a next run's handler takes but a moment, the child says already when it takes the message that it is as good
as free, so that the one after it is here in time. Should the handler take longer this time, the child says so, and
gives back what it was given meanwhile: no message waits for a process that may be busy for long.
"""

from __future__ import annotations

import json
import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from billiard.pool import ACK, READY
from celery.concurrency.asynpool import Worker

from ava.domain.messages import TASK

__all__ = ["BUSY", "RETURNED", "SEVERAL", "SOON_FREE", "PoolChild"]

# What a child tells beside billiard's own (`ACK`, `READY` …, all below 16).
#: It is about to be free of a job.
SOON_FREE = 64
#: It is not, after all: what was said too early.
BUSY = 65
#: A message that it was given, and that another process may run.
RETURNED = 66
#: Several of all these at once, in order: each would wake the parent.
SEVERAL = 67
#: Seconds within which the next message counts as close.
_CLOSE_SECONDS = 0.002
#: Seconds that a process may be busy after it said early that it is about to be free.
_EARLY_SECONDS = 0.1

#: PostgreSQL counts no further.
_MOST_RUNS = 2**31

Message = tuple[str, int, str]


class PoolChild(Worker):  # type: ignore[misc]  # Celery has no annotations
    """Billiard's worker, a little ahead of its loop.

    And billiard, after all of Celery's signals for a new process, has SIGTERM end it. Here it does not.
    """

    #: Called in a new child when billiard is done with its signals, with this object; set when the node starts.
    take_over: Callable[[PoolChild], None]
    #: How billiard's loop gets its next job.
    wait_for_job: Callable[[], Any]
    #: Billiard's number for the job that this child was given last, and for the one that was taken ahead last.
    _job: int | None = None
    _job_ahead: int | None = None
    #: The job of which it was said early that it is soon over, and when; None where that does not hold (any more).
    _early_job: int | None = None
    _early_at = 0.0
    #: The job of which that was taken back.
    _busy_job: int | None = None
    #: What was taken ahead, until billiard's loop asks for it: a job, or the end of this process.
    _request: Any = None
    _end: SystemExit | None = None
    #: Whether messages follow so close on each other that it is worth waiting for the next one.
    _is_pressed = False
    #: What is told with what comes next.
    _untold: tuple[Any, ...] = ()

    def _make_child_methods(self, *args: Any, **kwargs: Any) -> None:
        super()._make_child_methods(*args, **kwargs)
        self._receive, self.wait_for_job = self.wait_for_job, self._wait_for_job
        self._put, self.outq.put = self.outq.put, self._put_once
        self._arrivals = select.poll()
        self._arrivals.register(self.inq._reader.fileno(), select.POLLIN)
        #: Held while a message is waited for and taken out of the pipe.
        self._taking = threading.Lock()
        #: Held while something is told, and while that is decided.
        self._telling = threading.Lock()

    def after_fork(self) -> None:
        """Make a fork into a child."""
        super().after_fork()
        self.take_over(self)

    # What billiard's loop calls ------------------------------------------------------------------------------------

    def _wait_for_job(self) -> Any:
        if self._end is not None:
            raise self._end
        request, self._request = self._request, None
        if request is None:
            began = time.monotonic()
            with self._taking:
                request = self._receive()
            self._is_pressed = time.monotonic() - began < _CLOSE_SECONDS
        if request:
            self._job = request[1][0]
        return request

    def _put_once(self, told: Any) -> None:
        kind, (about, *_) = told
        with self._telling:
            if kind == READY:
                self._early_job, self._busy_job = (
                    None if number == about else number for number in (self._early_job, self._busy_job)
                )
            if kind == READY and self._request is not None and self._early_job is not None:
                # The next one takes but a moment, and what is told of it takes this along.
                self._untold = (told,)
            elif kind != ACK or about != self._job_ahead:
                # What was taken ahead was acknowledged then.
                self._tell(told)

    def _tell(self, *told: Any) -> None:
        everything, self._untold = (*self._untold, *told), ()
        if len(everything) > 1:
            everything = ((SEVERAL, everything),)
        for each in everything:
            self._put(each)

    # What the child calls ------------------------------------------------------------------------------------------

    def tell_soon_free(self) -> None:
        """Have the parent fetch this child's next message: all that is left of its job is to write how it ended."""
        # A parent that is gone needs nothing.
        with self._telling, suppress(OSError):
            if self._early_job != self._job:
                self._busy_job = None
                self._tell((SOON_FREE, (self._job, self.inqW_fd)))

    def take_ahead(self, is_brief: Callable[[str], bool]) -> Message | None:
        """Take the next message if it comes close behind: the job's id, the run's number, and the worker's id.

        None where nothing came, or nothing that can be claimed; billiard's loop finds it either way. `is_brief`:
        whether a worker's handler takes but a moment.
        """
        with self._taking:
            if self._is_pressed:
                self._is_pressed = bool(self._arrivals.poll(_CLOSE_SECONDS * 1000))
            if not self._is_pressed:
                return None
            try:
                self._request = self._receive()
            except SystemExit as end:
                self._end = end
        if not self._request:
            return None
        number, part, _, (task, _, _, body, *_), _ = self._request[1]
        message = _read(body) if task == TASK else None
        accepted = (ACK, (number, part, time.monotonic(), os.getpid(), self.synqW_fd))
        with self._telling, suppress(OSError):
            self._job_ahead = number
            if message is not None and is_brief(message[2]):
                self._early_job, self._early_at = number, time.monotonic()
                self._tell(accepted, (SOON_FREE, (number, self.inqW_fd)))
            else:
                self._tell(accepted)
        return message

    def keep_word(self) -> None:
        """See to it that nothing waits for this child that was told early to be about to be free; now and then."""
        if self._early_job is not None and time.monotonic() - self._early_at > _EARLY_SECONDS:
            self.withdraw()
        elif self._busy_job is not None:
            # What the parent had sent before it knew.
            with self._telling, suppress(OSError):
                self._return_messages()
        elif self._untold:
            with self._telling, suppress(OSError):
                self._tell()

    def withdraw(self) -> None:
        """Take back that this child is about to be free, where it was said early, and give back what came for it."""
        with self._telling, suppress(OSError):
            if self._early_job is not None:
                self._busy_job, self._early_job = self._early_job, None
                self._tell((BUSY, (self._busy_job, self.inqW_fd)))
                self._return_messages()
            elif self._untold:
                self._tell()

    def _return_messages(self) -> None:
        # Whoever waits for a message is about to run it.
        if not self._taking.acquire(blocking=False):
            return
        try:
            while self._end is None and self._arrivals.poll(0):
                if request := self._receive():
                    self._tell((RETURNED, (request[1][0], self._busy_job, self.inqW_fd)))
        except SystemExit as end:
            self._end = end
        finally:
            self._taking.release()


def _read(body: str | bytes) -> Message | None:
    """What a message of ours says; None for any other, which must not spoil the end that is being written."""
    try:
        ((job_id, run_no, worker_id), *_) = json.loads(body)
    except (ValueError, TypeError, RecursionError):
        return None
    is_ours = isinstance(job_id, str) and isinstance(worker_id, str) and type(run_no) is int and 0 < run_no < _MOST_RUNS
    return (job_id, run_no, worker_id) if is_ours else None
