"""The pool of a node's children: Celery's own, with two things mended.

Celery hears of a death from a pipe that closes, but asks then and there who it was; where the kernel is not done with
the process yet, nobody is found, and Celery's next look is five seconds away. Here it looks more often.

And billiard, after all of Celery's signals for a new process, has SIGTERM end it. Here it does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.asynpool import Worker as AsynWorker
from celery.concurrency.prefork import TaskPool

__all__ = ["Pool", "PoolWorker"]

_LOOK_SECONDS = 0.2


class PoolWorker(AsynWorker):  # type: ignore[misc]  # Celery has no annotations
    """What runs in a child."""

    #: Called in a new child when billiard is done with its signals; set when the node starts.
    take_over: Callable[[], None]

    def after_fork(self) -> None:
        """Make a fork into a child."""
        super().after_fork()
        self.take_over()


class _AttentivePool(AsynPool):  # type: ignore[misc]
    Worker = PoolWorker

    @property
    def timers(self) -> dict[Callable[[], Any], float]:
        """What the event loop calls again and again, and after how many seconds."""
        return {self.maintain_pool: _LOOK_SECONDS}


class Pool(TaskPool):  # type: ignore[misc]
    """Celery's prefork pool; `celery_config.py` names it."""

    Pool = _AttentivePool
