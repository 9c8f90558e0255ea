"""The pool of a node's children: Celery's own, which here looks more often whether one has died.

Celery hears of a death from a pipe that closes, but asks then and there who it was; where the kernel is not done with
the process yet, nobody is found, and Celery's next look is five seconds away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool

__all__ = ["Pool"]

_LOOK_SECONDS = 0.2


class _AttentivePool(AsynPool):  # type: ignore[misc]  # Celery has no annotations
    @property
    def timers(self) -> dict[Callable[[], Any], float]:
        """What the event loop calls again and again, and after how many seconds."""
        return {self.maintain_pool: _LOOK_SECONDS}


class Pool(TaskPool):  # type: ignore[misc]
    """Celery's prefork pool; `celery_config.py` names it."""

    Pool = _AttentivePool
