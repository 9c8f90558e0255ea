"""Long work outside the event loop, in threads of its own, so that other requests go on meanwhile.

The work must be pure: no database, no request, no lock that greenlets use.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from ava.errors import RequestError

#: Work on fewer bytes is done where it arises, because a thread would cost more than it.
LARGE_BYTES = 2**16
#: Threads of one process. More would compete for the interpreter with the event loop.
_THREADS = 2
#: New objects beyond which garbage is collected while work is running, because one work may follow another for ever.
_MAX_UNCOLLECTED = 200_000

_running = 0

Result = TypeVar("Result")


def run(work: Callable[[], Result]) -> Result:
    """Return what `work` returns, and raises what it raises; other greenlets run meanwhile."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return work()
    with _no_collections():
        # An error comes back as a value, because gevent would print it.
        error, result = _pool().apply(_attempt, (work,))
    if error is not None:
        raise error
    finished: Result = result
    return finished


@contextmanager
def _no_collections() -> Iterator[None]:
    """Collect no garbage in the block. A collection would look at each of a body's values, for up to 0.1 s."""
    global _running  # noqa: PLW0603 - the event loop alone changes it
    _running += 1
    gc.disable()
    try:
        yield
    finally:
        _running -= 1
        if not _running or gc.get_count()[0] > _MAX_UNCOLLECTED:
            gc.enable()


def _attempt(work: Callable[[], Result]) -> tuple[Exception | None, Result | None]:
    try:
        return None, work()
    except RequestError as error:
        # Its frames, and those of its cause, would keep the values of the body until garbage is collected.
        error.__traceback__ = error.__context__ = None
        return error, None
    except Exception as error:
        return error, None


@cache
def _pool() -> Any:
    from gevent.threadpool import ThreadPool

    return ThreadPool(_THREADS)
