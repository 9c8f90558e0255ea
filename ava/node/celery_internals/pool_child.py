"""A child of the pool, which may take its next message before its job has ended (ava/node/README.md).

The child sends `SOON_FREE` after its handler, before it writes the run's end, so that the parent fetches the next
message. If messages arrive in close succession, the child takes it immediately: one statement then ends one run and
claims the next. It keeps the promised rate of short jobs (`python -m bench drain`).
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from billiard.pool import ACK, EX_FAILURE
from celery.concurrency.asynpool import Worker

from ava.domain.jobs.messages import Message

#: Maximum seconds between two messages in close succession.
_CLOSE_SECONDS = 0.002
# A child's message to its parent, next to billiard's states (`ACK`, `READY` …, all below 16). (job, inqueue): the child
# will soon be free of this job.
SOON_FREE = 64


class PoolChild(Worker):  # type: ignore[misc]  # Celery has no annotations
    """billiard's worker, extended to take one message ahead of billiard's loop. Implements `TakeAhead`.

    billiard resets SIGTERM in a new child, after Celery's set-up of signals; `take_over` replaces that.
    """

    #: Called in a new child after billiard has set up its signals. Set when the node starts.
    take_over: Callable[[PoolChild], None]
    wait_for_job: Callable[[], Any]
    #: The descriptors for reading messages and writing states.
    pipes: tuple[int, ...] = ()
    #: billiard's numbers of the last job given to its loop and the last one taken ahead.
    _job: int | None = None
    _job_ahead: int | None = None
    #: Taken ahead and not yet requested by billiard's loop: a job, or the end of this process.
    _request: Any = None
    _end: SystemExit | None = None
    #: Whether messages arrive in close succession, so that a short wait for the next one pays off.
    _is_pressed = False

    def _make_child_methods(self, *args: Any, **kwargs: Any) -> None:
        super()._make_child_methods(*args, **kwargs)
        self._receive, self.wait_for_job = self.wait_for_job, self._wait_for_job
        self._put, self.outq.put = self.outq.put, self._put_once
        self._arrivals = select.poll()
        self.pipes = (self.inq._reader.fileno(), self.outq._writer.fileno())
        self._arrivals.register(self.pipes[0], select.POLLIN)

    def after_fork(self) -> None:
        super().after_fork()
        self.take_over(self)

    def _do_exit(self, pid: int, exitcode: object, exc: BaseException | None = None) -> None:
        """End this process. billiard passes on the handler's `sys.exit` argument, which may be any object."""
        is_code = exitcode is None or isinstance(exitcode, int)
        super()._do_exit(pid, exitcode if is_code else EX_FAILURE, exc)

    # Called by billiard's loop -------------------------------------------------------------------------------------

    def _wait_for_job(self) -> Any:
        if self._end is not None:
            raise self._end
        request, self._request = self._request, None
        if request is None:
            began = time.monotonic()
            request = self._receive()
            self._is_pressed = time.monotonic() - began < _CLOSE_SECONDS
        if request:
            self._job = request[1][0]
        return request

    def _put_once(self, state: Any) -> None:
        kind, (job, *_) = state
        # A job taken ahead is already acknowledged.
        if kind != ACK or job != self._job_ahead:
            self._put(state)

    # Called by the child -------------------------------------------------------------------------------------------

    def announce_soon_free(self) -> None:
        self._send(SOON_FREE, self._job, self.inqW_fd)

    def take_next(self) -> Message | None:
        """Take the next message if it arrives in close succession; None if no claimable one does.

        billiard's loop receives any arrival in both cases.
        """
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
        number, part, _, (_, _, _, body, *_), _ = self._request[1]
        self._job_ahead = number
        self._send(ACK, number, part, time.monotonic(), os.getpid(), self.synqW_fd)
        # The parent has dropped all foreign messages.
        return Message.of(json.loads(body)[0])

    def _send(self, kind: int, *content: Any) -> None:
        # A write fails if the parent has ended; the state is then irrelevant.
        with suppress(OSError):
            self._put((kind, content))


class TakeAhead(Protocol):
    """A child's interface for requesting messages ahead."""

    #: The descriptors of the pipes from and to the parent, if known.
    pipes: tuple[int, ...]

    def announce_soon_free(self) -> None:
        """Make the parent fetch the next message, because this child only has to write the end of its run."""

    def take_next(self) -> Message | None:
        """Take the next message if it arrives in close succession. Returns None if no claimable one arrived."""


class NoTakeAhead:
    """A child of Celery's own pool: the next message arrives after the job has ended."""

    pipes: tuple[int, ...] = ()

    def announce_soon_free(self) -> None:
        """Do nothing."""

    def take_next(self) -> Message | None:
        return None
