"""Celery applications on AVA Jobs: their tasks as workers, and their calls as jobs.

`ava` finds this distribution by the entry points of the group `ava.celery_tasks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["install", "together"]


def install(
    app: Celery, *, only: Iterable[str] | str = (), outbox: Callable[[], Callable[..., str] | None] | None = None
) -> None:
    """Send calls of an application's tasks to AVA Jobs, and read their results from there.

    `only`: patterns of the names of these tasks, as in a shell; the others stay on Celery. `outbox` returns the trigger
    of an outbox in the application's transaction, or None outside of one; with `ava_django` among Django's installed
    applications it is not needed.
    """
    # Imported here, because `ava celery --help` imports this package.
    from ava_celery.callers import Callers

    Callers(app, (only,) if isinstance(only, str) else tuple(only), outbox)


def together() -> AbstractContextManager[None]:
    """Send this thread's calls of single tasks at the end of the block, up to 1,000 in one transaction.

    Their results have ids only then. After an exception in the block, none is sent. An error names its call by index.
    """
    from ava_celery.callers import together

    return together()
