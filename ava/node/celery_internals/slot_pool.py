"""The pool of a slot process: Celery's consumer passes each message to the event loop of the process.

The consumer's own thread owns the connection to the broker, so the loop wakes it to record the end of a message.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

from celery.concurrency.base import BasePool
from celery.worker.state import reserved_requests

from ava.domain.jobs.messages import Message
from ava.node.celery_internals.job_request import JobRequest
from ava.node.outcome import Retirement
from ava.node.parent import loop_liveness

#: Seconds between liveness records while an ending process waits for its runs.
_WAIT_SECONDS = 1.0


class SlotPool(BasePool):  # type: ignore[misc]  # Celery has no annotations
    """A pool with as many slots as its limit; `ava.node.slots` names it."""

    #: Runs the jobs of a message, and calls the function when they have ended. Set when the process starts.
    take: ClassVar[Callable[[Message, Callable[[Retirement], None]], None]]

    def on_start(self) -> None:
        """Create the pipe that wakes the consumer."""
        self._wakes, self._wake = os.pipe()
        os.set_blocking(self._wakes, False)
        os.set_blocking(self._wake, False)
        self._taken: set[JobRequest] = set()
        self._ended: deque[tuple[JobRequest, Retirement]] = deque()

    def register_with_event_loop(self, hub: Any) -> None:
        hub.add_reader(self._wakes, self._finish_ended)

    def on_apply(self, *_: Any, accept_callback: Any, **__: Any) -> None:
        request: JobRequest = accept_callback.__self__
        self._taken.add(request)
        accept_callback(os.getpid(), time.monotonic())
        type(self).take(request.job_message, partial(self._record_end, request))

    def _record_end(self, request: JobRequest, retirement: Retirement) -> None:
        self._ended.append((request, retirement))
        # Wake the consumer once for all messages that it has not processed. A full pipe also wakes it.
        if len(self._ended) == 1:
            with suppress(BlockingIOError):
                os.write(self._wake, b"\0")

    def _finish_ended(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wakes, 65_536)
        while self._ended:
            request, retirement = self._ended.popleft()
            self._taken.discard(request)
            request.finish(retirement)

    def flush(self) -> None:
        """Count the runs that continue while the broker is unreachable; Celery has forgotten their requests."""
        for request in self._taken:
            reserved_requests.add(request)

    def on_stop(self) -> None:
        """Wait for the runs to end, because the node drains."""
        while self._taken:
            loop_liveness.record_attempt()
            select.select([self._wakes], [], [], _WAIT_SECONDS)
            self._finish_ended()
