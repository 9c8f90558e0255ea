"""What runs in a child of Celery's prefork pool, which here may be given its next message before its job is over.

A child says when its handler has ended, before it writes the run's end. Its next message is fetched meanwhile, and
where messages follow close on each other the child takes it ahead: then one statement ends one run and claims the next.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from billiard.pool import ACK
from celery.concurrency.asynpool import Worker

from ava.broker.names import TASK

__all__ = ["SOON_FREE", "PoolWorker"]

#: What a child tells of a job beside billiard's own (`ACK`, `READY` …, all below 16): it is about to be free.
SOON_FREE = 64
#: Seconds within which the next message counts as close.
_CLOSE_SECONDS = 0.002

#: PostgreSQL counts no further.
_MOST_RUNS = 2**31

Message = tuple[str, int, str]


class PoolWorker(Worker):  # type: ignore[misc]  # Celery has no annotations
    """Billiard's worker, a little ahead of its loop.

    And billiard, after all of Celery's signals for a new process, has SIGTERM end it. Here it does not.
    """

    #: Called in a new child when billiard is done with its signals, with this object; set when the node starts.
    take_over: Callable[[PoolWorker], None]
    #: How billiard's loop gets its next job.
    wait_for_job: Callable[[], Any]
    #: Billiard's number for the job that this child was given last, and for the one that was taken ahead last.
    _job: int | None = None
    _job_ahead: int | None = None
    #: What was taken ahead, until billiard's loop asks for it: a job, or the end of this process.
    _request: Any = None
    _end: SystemExit | None = None
    #: Whether messages follow so close on each other that it is worth waiting for the next one.
    _is_pressed = False

    def _make_child_methods(self, *args: Any, **kwargs: Any) -> None:
        super()._make_child_methods(*args, **kwargs)
        self._receive, self.wait_for_job = self.wait_for_job, self._wait_for_job
        self._put, self.outq.put = self.outq.put, self._put_once
        self._arrivals = select.poll()
        self._arrivals.register(self.inq._reader.fileno(), select.POLLIN)

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
            request = self._receive()
            self._is_pressed = time.monotonic() - began < _CLOSE_SECONDS
        if request:
            self._job = request[1][0]
        return request

    def _put_once(self, told: Any) -> None:
        kind, (about, *_) = told
        # What was taken ahead was acknowledged then.
        if kind != ACK or about != self._job_ahead:
            self._put(told)

    # What the child calls ------------------------------------------------------------------------------------------

    def tell_soon_free(self) -> None:
        """Have the parent fetch this child's next message: all that is left of its job is to write how it ended."""
        # A parent that is gone needs nothing.
        with suppress(OSError):
            self._put((SOON_FREE, (self._job, self.inqW_fd)))

    def take_ahead(self) -> Message | None:
        """Take the next message if it comes close behind: the job's id, the run's number, and the worker's id.

        None where nothing came, or nothing that can be claimed; billiard's loop finds it either way.
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
        number, part, _, (task, _, _, body, *_), _ = self._request[1]
        with suppress(OSError):
            self._put((ACK, (number, part, time.monotonic(), os.getpid(), self.synqW_fd)))
        self._job_ahead = number
        return _read(body) if task == TASK else None


def _read(body: str | bytes) -> Message | None:
    """What a message of ours says; None for any other, which must not spoil the end that is being written."""
    try:
        ((job_id, run_no, worker_id), *_) = json.loads(body)
    except (ValueError, TypeError, RecursionError):
        return None
    is_ours = isinstance(job_id, str) and isinstance(worker_id, str) and type(run_no) is int and 0 < run_no < _MOST_RUNS
    return (job_id, run_no, worker_id) if is_ours else None
