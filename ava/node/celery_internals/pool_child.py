"""A child of the pool, which may take its next message before its job is over (see `take_ahead` and docs/node.md).

The child sends `SOON_FREE` when its handler has ended, before it writes the run's end. Meanwhile the parent fetches the
next message. If messages follow each other closely, the child takes it at once: one statement then ends one run and
claims the next.

If the next run's handler is brief, the child sends `SOON_FREE` already when it takes the message, so that the message
after it is here in time. If that handler takes longer this time, the child sends `STILL_BUSY` and returns what came
meanwhile: no message waits for a process that may be busy for long.
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

from billiard.pool import ACK, EX_FAILURE, READY
from celery.concurrency.asynpool import Worker

from ava.domain.messages import TASK, Message, read_arguments
from ava.node.celery_internals.take_ahead import BATCH, PASSED, RETURNED, SOON_FREE, STILL_BUSY

__all__ = ["PoolChild"]

#: Seconds within which the next message follows closely.
_CLOSE_SECONDS = 0.002
#: Seconds that a job may take after an early `SOON_FREE`.
_EARLY_SECONDS = 0.1


class PoolChild(Worker):  # type: ignore[misc]  # Celery has no annotations
    """Billiard's worker, one message ahead of billiard's loop. Implements `TakeAhead`.

    After Celery has set up the signals of a new process, billiard makes SIGTERM end it; `take_over` replaces that.
    """

    #: Called in a new child, with this object, once billiard has set up its signals; set when the node starts.
    take_over: Callable[[PoolChild], None]
    #: How billiard's loop gets its next job.
    wait_for_job: Callable[[], Any]
    #: The descriptors from which this child reads messages and to which it writes states.
    pipes: tuple[int, ...] = ()
    #: Billiard's number of the job that its loop was given last, and of the job that was taken ahead last.
    _job: int | None = None
    _job_ahead: int | None = None
    #: The job that was announced early as soon free, and when. None once it is over or the announcement is withdrawn.
    _early_job: int | None = None
    _early_at = 0.0
    #: The job whose early announcement was withdrawn, until it is over.
    _busy_job: int | None = None
    #: What was taken ahead, until billiard's loop asks for it: a job, or the end of this process.
    _request: Any = None
    _end: SystemExit | None = None
    #: True while messages follow each other closely, so that a short wait for the next one pays.
    _is_pressed = False
    #: What is sent together with the next state.
    _unsent: tuple[Any, ...] = ()

    def _make_child_methods(self, *args: Any, **kwargs: Any) -> None:
        super()._make_child_methods(*args, **kwargs)
        self._receive, self.wait_for_job = self.wait_for_job, self._wait_for_job
        self._put, self.outq.put = self.outq.put, self._put_once
        self._arrivals = select.poll()
        self.pipes = (self.inq._reader.fileno(), self.outq._writer.fileno())
        self._arrivals.register(self.pipes[0], select.POLLIN)
        #: Held while this child waits for a message and takes it out of the pipe.
        self._taking = threading.Lock()
        #: Held while this child decides what to send, and sends it.
        self._sending = threading.Lock()

    def after_fork(self) -> None:
        """Set up a new child process."""
        super().after_fork()
        self.take_over(self)

    def _do_exit(self, pid: int, exitcode: object, exc: BaseException | None = None) -> None:
        """End this process. Billiard keeps what the handler passed to `sys.exit`, which may be a text or any object."""
        is_code = exitcode is None or isinstance(exitcode, int)
        super()._do_exit(pid, exitcode if is_code else EX_FAILURE, exc)

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

    def _put_once(self, state: Any) -> None:
        kind, (job, *_) = state
        with self._sending:
            if kind == READY:
                self._early_job, self._busy_job = (
                    None if number == job else number for number in (self._early_job, self._busy_job)
                )
            if kind == READY and self._request is not None and self._early_job is not None:
                # The next job is brief, and its states take this one along.
                self._unsent = (state,)
            elif kind != ACK or job != self._job_ahead:
                # A job that was taken ahead was acknowledged when it was taken.
                self._send(state)

    def _send(self, *states: Any) -> None:
        unsent, self._unsent = (*self._unsent, *states), ()
        if len(unsent) > 1:
            unsent = ((BATCH, unsent),)
        for state in unsent:
            self._put(state)

    # What the child calls ------------------------------------------------------------------------------------------

    def announce_soon_free(self) -> None:
        """Have the parent fetch the next message: only the end of this child's run is still to be written."""
        # A write fails if the parent is gone, and then it does not matter.
        with self._sending, suppress(OSError):
            if self._early_job != self._job:
                self._busy_job = None
                self._send((SOON_FREE, (self._job, self.inqW_fd)))

    def take_next(self, is_brief: Callable[[str], bool]) -> Message | None:
        """Take the next message if it follows closely.

        Returns None if none came that can be claimed; billiard's loop gets what came in any case. `is_brief` returns
        True if the handler of a worker (its id) takes less time than the next message does.
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
        with self._sending, suppress(OSError):
            self._job_ahead = number
            # A group announces its end with its last run.
            if message is not None and len(message.runs) == 1 and is_brief(message.worker_id):
                self._early_job, self._early_at = number, time.monotonic()
                self._send(accepted, (SOON_FREE, (number, self.inqW_fd)))
            else:
                self._send(accepted)
        return message

    def check_announcement(self) -> None:
        """Withdraw an early announcement that turned out wrong; called ten times a second."""
        if self._early_job is not None and time.monotonic() - self._early_at > _EARLY_SECONDS:
            self.withdraw()
        elif self._busy_job is not None:
            # What the parent had written before it read `STILL_BUSY`.
            with self._sending, suppress(OSError):
                self._return_messages()
        elif self._unsent:
            with self._sending, suppress(OSError):
                self._send()

    def withdraw(self) -> None:
        """Withdraw an early announcement, if there is one, and return what came for it."""
        with self._sending, suppress(OSError):
            if self._early_job is not None:
                self._busy_job, self._early_job = self._early_job, None
                self._send((STILL_BUSY, (self._busy_job, self.inqW_fd)))
                self._return_messages()
            elif self._unsent:
                self._send()

    def may_pass_place(self) -> bool:
        """Returns True if no message was asked for or has come, so that the child may go on without one."""
        with self._sending:
            is_announced = self._early_job is not None or self._busy_job is not None
        return not is_announced and self._request is None and self._end is None and not self._arrivals.poll(0)

    def report_passed(self, job_id: str, run_no: int) -> None:
        """Have the parent know the run that this child has started without a message."""
        with self._sending, suppress(OSError):
            self._send((PASSED, (self._job, job_id, run_no)))

    def _return_messages(self) -> None:
        # A thread that waits for a message is about to run it.
        if not self._taking.acquire(blocking=False):
            return
        try:
            while self._end is None and self._arrivals.poll(0):
                if request := self._receive():
                    self._send((RETURNED, (request[1][0], self._busy_job, self.inqW_fd)))
        except SystemExit as end:
            self._end = end
        finally:
            self._taking.release()


def _read(body: str | bytes) -> Message | None:
    """Read a message of ours. Returns None for any other, which must not break the end that is being written."""
    try:
        (arguments, *_) = json.loads(body)
    except (ValueError, TypeError, RecursionError):
        return None
    return read_arguments(arguments)
