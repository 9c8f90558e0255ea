"""The pool of a node: Celery's prefork pool, extended by the take-ahead protocol (`take_ahead`, docs/explain/node.md).

- A child gets its next message while it still writes the end of its job.
- A message is written into the child's pipe when it arrives, not with the next turn of the event loop.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from billiard.pool import READY
from celery.concurrency.asynpool import AsynPool, ResultHandler
from celery.concurrency.prefork import TaskPool
from kombu.asynchronous import Hub

from ava.node.celery_internals.pool_child import PoolChild
from ava.node.celery_internals.request import JobRequest
from ava.node.celery_internals.take_ahead import SOON_FREE


class _Results(ResultHandler):  # type: ignore[misc]  # Celery has no annotations
    """Reads, in the parent, what the children send."""

    def _make_methods(self) -> None:
        super()._make_methods()
        self._on_ready_and_free = self.state_handlers[READY]
        self.state_handlers.update({READY: self._on_ready, SOON_FREE: self._on_soon_free})

    def _on_soon_free(self, job: int, inqueue: int) -> None:
        result = self.cache.get(job)
        if result is None or result.ready():
            return
        result.is_soon_free = True
        self.on_job_ready(job, None, None, inqueue)
        self.putlock.release()
        _request_of(result).fetch_next()

    def _on_ready(self, job: int, part: int | None, outcome: Any, inqueue: int) -> None:
        result = self.cache.get(job)
        if not is_soon_free(result):
            self._on_ready_and_free(job, part, outcome, inqueue)
            return
        # `SOON_FREE` has freed the child, which may be busy again by now: only count and report the end.
        if (counter := self.on_ready_counters.get(result._worker_pid)) is not None:
            with counter.get_lock():
                counter.value += 1
        result._set(part, outcome)


def is_soon_free(result: Any) -> bool:
    """Returns True if the job is not over and its child was freed by `SOON_FREE`."""
    return getattr(result, "is_soon_free", False) and not result.ready()


def _request_of(result: Any) -> JobRequest:
    request: JobRequest = result._accept_callback.__self__
    return request


class _TakeAheadPool(AsynPool):  # type: ignore[misc]
    Worker = PoolChild
    ResultHandler = _Results
    #: How billiard queues a job that is to be written to a child.
    _quick_put: Callable[[Any], None]
    #: Slots of jobs whose children have died, until they are free.
    _lost_slots = 0

    def _create_write_handlers(self, hub: Any, *args: Any, **kwargs: Any) -> None:
        super()._create_write_handlers(hub, *args, **kwargs)
        queue, write = self._quick_put, hub.consolidate_callback

        def send(request: Any) -> None:
            queue(request)
            write(list(self._all_inqueues - self._busy_workers - self._active_writes))

        self._quick_put = send

    def did_start_ok(self) -> bool:
        """Returns True: a child that has died since its fork is replaced, as at any later time.

        Billiard returns False if one child has died, and Celery then ends the node.
        """
        return True

    def mark_as_worker_lost(self, job: Any, exitcode: int | None) -> None:
        """Report a job whose child has died, and count its slot unless `SOON_FREE` has freed it before."""
        if not job.ready() and not is_soon_free(job):
            self._lost_slots += 1
        super().mark_as_worker_lost(job, exitcode)

    def _maintain_pool(self) -> None:
        self._repopulate_pool(self._join_exited_workers())
        # Billiard would free one slot for each child that has ended. Here one may have had no slot, or two jobs.
        while self._lost_slots:
            self._lost_slots -= 1
            self._putlock.release()

    def flush(self) -> None:
        """Forget the jobs that no child was given: the broker is gone, and delivers them again when it is back.

        Celery would also forget the jobs that wait in a child's pipe, and then not know what the child runs.
        """
        given = {number: result for number, result in self._cache.items() if result._write_to is not None}
        super().flush()
        self._cache.update({number: result for number, result in given.items() if not result.ready()})


class _RemoveWriter:
    """Removes a writer from an event loop if there is one.

    In each turn of the loop the pool removes those of all idle processes. Without one the loop would unregister and
    register the reader of the same descriptor: three system calls for each process.
    """

    def __init__(self, hub: Any) -> None:
        self._hub = hub

    def __call__(self, fd: int) -> None:
        """Remove the writer of a descriptor."""
        if fd in self._hub.writers:
            Hub.remove_writer(self._hub, fd)


class JobPool(TaskPool):  # type: ignore[misc]
    """Celery's prefork pool with the take-ahead protocol; `celery_config.py` names it."""

    Pool = _TakeAheadPool

    def register_with_event_loop(self, hub: Any) -> None:
        """Register with the event loop."""
        hub.remove_writer = _RemoveWriter(hub)
        super().register_with_event_loop(hub)

    def on_start(self) -> None:
        """Start the children."""
        # Celery collects garbage before each fork, in the event loop. What is loaded by now is no garbage, and to look
        # at all of it takes some 30 ms of processor time, during which a node reads no message.
        gc.collect()
        gc.freeze()
        super().on_start()
