"""The pool of a node: Celery's prefork pool with the take-ahead protocol (ava/node/README.md).

- A child gets its next message while it is still writing the end of its job.
- A message is written into the child's pipe on arrival, not in the next iteration of the event loop.
"""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from billiard.pool import READY
from celery.concurrency.asynpool import AsynPool, ResultHandler
from celery.concurrency.prefork import TaskPool
from celery.worker.state import reserved_requests
from kombu.asynchronous import Hub

from ava.metrics.counters import POOL_LEAKS
from ava.node.celery_internals.job_request import JobRequest
from ava.node.celery_internals.pool_child import SOON_FREE, PoolChild


class _Results(ResultHandler):  # type: ignore[misc]  # Celery has no annotations
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
        # `SOON_FREE` has already freed the child, which may be busy again.
        if (counter := self.on_ready_counters.get(result._worker_pid)) is not None:
            with counter.get_lock():
                counter.value += 1
        result._set(part, outcome)


def is_soon_free(result: Any) -> bool:
    """Return True if `SOON_FREE` has freed the child of an unended job."""
    return getattr(result, "is_soon_free", False) and not result.ready()


def _request_of(result: Any) -> JobRequest:
    request: JobRequest = result._accept_callback.__self__
    return request


class _TakeAheadPool(AsynPool):  # type: ignore[misc]
    Worker = PoolChild
    ResultHandler = _Results
    #: billiard's function that queues a job for writing to a child.
    _quick_put: Callable[[Any], None]
    #: Slots of jobs with dead children, not freed yet.
    _lost_slots = 0

    def _create_write_handlers(self, hub: Any, *args: Any, **kwargs: Any) -> None:
        super()._create_write_handlers(hub, *args, **kwargs)
        queue, write = self._quick_put, hub.consolidate_callback

        def send(request: Any) -> None:
            queue(request)
            write(list(self._all_inqueues - self._busy_workers - self._active_writes))

        self._quick_put = send

    def did_start_ok(self) -> bool:
        """Return True, so that a child that died since its fork is replaced: on False, Celery ends the node."""
        return True

    def mark_as_worker_lost(self, job: Any, exitcode: int | None) -> None:
        """Report the job of a dead child, and count its slot unless `SOON_FREE` has freed it."""
        if not job.ready() and not is_soon_free(job):
            self._lost_slots += 1
        super().mark_as_worker_lost(job, exitcode)

    def _maintain_pool(self) -> None:
        self._repopulate_pool(self._join_exited_workers())
        # billiard would free one slot per ended child, but a child may have had none, or two jobs.
        while self._lost_slots:
            self._lost_slots -= 1
            self._putlock.release()

    def flush(self) -> None:
        """Forget the jobs that no child has received: the broker is unreachable and will redeliver them.

        Celery would also forget jobs in a child's pipe.
        """
        given = {number: result for number, result in self._cache.items() if result._write_to is not None}
        super().flush()
        self._cache.update({number: result for number, result in given.items() if not result.ready()})


class _RemoveWriter:
    """Removes a writer from an event loop if there is one.

    In each iteration the pool removes the writers of all idle processes. For a missing writer the loop would unregister
    and register the reader of the same descriptor: three system calls per process.
    """

    def __init__(self, hub: Any) -> None:
        self._hub = hub

    def __call__(self, fd: int) -> None:
        if fd in self._hub.writers:
            Hub.remove_writer(self._hub, fd)


class JobPool(TaskPool):  # type: ignore[misc]
    """Celery's prefork pool with the take-ahead protocol; `celery_config.py` names it."""

    Pool = _TakeAheadPool

    def register_with_event_loop(self, hub: Any) -> None:
        hub.remove_writer = _RemoveWriter(hub)
        super().register_with_event_loop(hub)

    def on_start(self) -> None:
        # Celery collects garbage before each fork, in the event loop. Scanning the loaded modules would take about 30
        # ms of processor time, during which a node reads no message.
        gc.collect()
        gc.freeze()
        super().on_start()


_log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
#: Consecutive checks that must find the same leak before it counts.
_CHECKS = 3
_KINDS = ("slot", "process", "message", "request")


class PoolLeaks:
    """Detects leaks: compares the resources that Celery counts as in use with the children's actual jobs.

    No known fault leaks a slot, a child or a message. If one does, a metric triggers an alert and nothing is repaired.
    The check runs in the event loop, where the counts are consistent between callbacks.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        #: How many consecutive checks found each leaked resource, by kind and identity.
        self._checks: dict[tuple[str, Hashable], int] = {}

    def check(self) -> int:
        """Report the leaks to the metrics. Returns their number."""
        self._checks = {found: self._checks.get(found, 0) + 1 for found in self._find()}
        for (kind, _), checks in self._checks.items():
            if checks == _CHECKS:
                _log.error("Pool: a %s is occupied without a job", kind)
        leaks = Counter(kind for (kind, _), checks in self._checks.items() if checks >= _CHECKS)
        for kind in _KINDS:
            POOL_LEAKS.labels(kind).set(leaks[kind])
        return leaks.total()

    def _find(self) -> Iterator[tuple[str, Hashable]]:
        """Yield the kind and identity of each resource in use that no job explains."""
        results = [result for result in self._pool._cache.values() if not result.ready()]
        slots = self._pool._putlock
        taken = sum(not getattr(result, "is_soon_free", False) for result in results)
        for number in range(slots.initial_value - slots.value - taken):
            yield "slot", number
        explained = {process.inqW_fd for it in results for process in (it._write_to, it._scheduled_for) if process}
        for inqueue in self._pool._busy_workers - explained:
            yield "process", inqueue
        can_run = self._pool._all_inqueues - self._pool._busy_workers or not any(it.accepted() for it in results)
        for result in results:
            if can_run and not result.accepted():
                yield "message", result._job
        known = {id(result._accept_callback.__self__) for result in results}
        known |= {id(request) for _, (request, *_), _ in slots._waiting}
        for request in list(reserved_requests):
            if id(request) not in known:
                yield "request", request.id
