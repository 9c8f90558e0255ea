"""The pool of a node's children: Celery's own, with three things mended.

Celery hears of a death from a pipe that closes, but asks then and there who it was; where the kernel is not done with
the process yet, nobody is found, and Celery's next look is five seconds away. Here it looks more often.

A child is given its next message while it still writes the end of its job (see `ava.execution.pool_worker`). And it is
given it at once, not with the next turn of the event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from billiard.pool import READY
from celery.concurrency.asynpool import AsynPool, ResultHandler
from celery.concurrency.prefork import TaskPool

from ava.execution.pool_worker import SOON_FREE, PoolWorker

__all__ = ["Pool"]

_LOOK_SECONDS = 0.2


class _Results(ResultHandler):  # type: ignore[misc]  # Celery has no annotations
    """Hears the children, in the parent."""

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
        result.on_soon_free()

    def _on_ready(self, job: int, part: int | None, outcome: Any, inqueue: int) -> None:
        result = self.cache.get(job)
        if not getattr(result, "is_soon_free", False):
            self._on_ready_and_free(job, part, outcome, inqueue)
            return
        # Its process was given free then, and may be taken again.
        if (counter := self.on_ready_counters.get(result._worker_pid)) is not None:
            with counter.get_lock():
                counter.value += 1
        result._set(part, outcome)


class _AttentivePool(AsynPool):  # type: ignore[misc]
    Worker = PoolWorker
    ResultHandler = _Results
    #: How billiard hands a job over to be given to a child.
    _quick_put: Callable[[Any], None]

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
