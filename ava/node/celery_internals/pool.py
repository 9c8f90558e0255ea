"""The pool of a node's children: Celery's own, with some things mended.

Celery hears of a death from a pipe that closes, but asks then and there who it was; where the kernel is not done with
the process yet, nobody is found, and Celery's next look is five seconds away. Here it looks more often.

A child is given its next message while it still writes the end of its job, or earlier, and may give it back (see
`ava.node.celery_internals.pool_child`). And it is given it at once, not with the next turn of the event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from billiard.pool import READY
from celery.concurrency.asynpool import AsynPool, ResultHandler
from celery.concurrency.prefork import TaskPool

from ava.node.celery_internals.pool_child import BUSY, RETURNED, SEVERAL, SOON_FREE, PoolChild
from ava.node.celery_internals.request import JobRequest

__all__ = ["Pool", "is_soon_free"]

_LOOK_SECONDS = 0.2


class _Results(ResultHandler):  # type: ignore[misc]  # Celery has no annotations
    """Hears the children, in the parent."""

    #: Has a child be given nothing, by the descriptor of the pipe to it.
    mark_busy: Callable[[int], None]

    def _make_methods(self) -> None:
        super()._make_methods()
        self._on_ready_and_free = self.state_handlers[READY]
        self.state_handlers.update(
            {
                READY: self._on_ready,
                SOON_FREE: self._on_soon_free,
                BUSY: self._on_busy,
                RETURNED: self._on_returned,
                SEVERAL: self._on_several,
            }
        )

    def _on_several(self, *told: Any) -> None:
        for each in told:
            self.on_state_change(each)

    def _on_soon_free(self, job: int, inqueue: int) -> None:
        result = self.cache.get(job)
        if result is None or result.ready():
            return
        result.is_soon_free = True
        self.on_job_ready(job, None, None, inqueue)
        self.putlock.release()
        _request_of(result).let_next_come()

    def _on_ready(self, job: int, part: int | None, outcome: Any, inqueue: int) -> None:
        result = self.cache.get(job)
        if not is_soon_free(result):
            self._on_ready_and_free(job, part, outcome, inqueue)
            return
        # Its process was given free then, and may be taken again.
        if (counter := self.on_ready_counters.get(result._worker_pid)) is not None:
            with counter.get_lock():
                counter.value += 1
        result._set(part, outcome)

    def _on_busy(self, job: int, inqueue: int) -> None:
        result = self.cache.get(job)
        # What was sent to it meanwhile has its place, and comes back with it.
        if is_soon_free(result) and self.putlock.value > 0 and not self._is_given(inqueue):
            self.putlock.value -= 1
            self._keep_busy(result, inqueue)
            _request_of(result).keep_next_away()

    def _is_given(self, inqueue: int) -> bool:
        return any(
            result._write_to is not None and result._write_to.inqW_fd == inqueue and not result.accepted()
            for result in self.cache.values()
        )

    def _keep_busy(self, result: Any, inqueue: int) -> None:
        result.is_soon_free = False
        self.mark_busy(inqueue)

    def _on_returned(self, job: int, busy_job: int, inqueue: int) -> None:
        returned, result = self.cache.pop(job, None), self.cache.get(busy_job)
        if returned is None:
            return
        if is_soon_free(result):
            self._keep_busy(result, inqueue)
            _request_of(result).keep_next_away(_request_of(returned))
        else:
            self.on_job_ready(job, None, None, inqueue)
            self.putlock.release()
            _request_of(returned).give_back().acknowledge()


def is_soon_free(result: Any) -> bool:
    """Whether the process of an unfinished job was given free by what it told."""
    return getattr(result, "is_soon_free", False) and not result.ready()


def _request_of(result: Any) -> JobRequest:
    request: JobRequest = result._accept_callback.__self__
    return request


class _AttentivePool(AsynPool):  # type: ignore[misc]
    Worker = PoolChild
    ResultHandler = _Results
    #: How billiard hands a job over to be given to a child.
    _quick_put: Callable[[Any], None]

    def create_result_handler(self) -> Any:
        """Make who hears the children."""
        results = super().create_result_handler()
        results.mark_busy = self._busy_workers.add
        return results

    @property
    def timers(self) -> dict[Callable[[], Any], float]:
        """What the event loop calls again and again, and after how many seconds."""
        return {self.maintain_pool: _LOOK_SECONDS}

    def _create_write_handlers(self, hub: Any, *args: Any, **kwargs: Any) -> None:
        super()._create_write_handlers(hub, *args, **kwargs)
        keep, write = self._quick_put, hub.consolidate_callback

        def send(request: Any) -> None:
            keep(request)
            write(list(self._all_inqueues - self._busy_workers - self._active_writes))

        self._quick_put = send

    def _maintain_pool(self) -> None:
        # Billiard gives the place of each process free that has ended; of some it was given free before.
        given_free = {result._worker_pid for result in self._cache.values() if is_soon_free(result)}
        before = {process.pid for process in self._pool}
        joined = self._join_exited_workers()
        given_free &= before - {process.pid for process in self._pool}
        self._repopulate_pool(joined)
        for _ in joined[len(given_free) :]:
            self._putlock.release()

    def flush(self) -> None:
        """Forget what no child has been given, for the broker has gone away and tells of it again.

        Celery would forget what waits in a child's pipe as well, and then not know what the child runs.
        """
        given = {number: result for number, result in self._cache.items() if result._write_to is not None}
        super().flush()
        self._cache.update({number: result for number, result in given.items() if not result.ready()})


class Pool(TaskPool):  # type: ignore[misc]
    """Celery's prefork pool; `celery_config.py` names it."""

    Pool = _AttentivePool
