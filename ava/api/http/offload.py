"""Run long work in a thread pool, so that the event loop serves other requests during it.

The work must be pure: no database, no request, no lock that greenlets use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from ava.errors import RequestError

#: Bytes up to which work runs in place, because a thread would cost more.
LARGE_BYTES = 2**16
#: Threads per process. More would compete with the event loop for the interpreter.
_THREADS = 2

Result = TypeVar("Result")


def run(work: Callable[[], Result]) -> Result:
    """Return the result of `work` or raise its exception; other greenlets run during it."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return work()
    # Return an error as a value, because gevent would print it.
    error, result = _pool().apply(_attempt, (work,))
    if error is not None:
        raise error
    finished: Result = result
    return finished


def _attempt(work: Callable[[], Result]) -> tuple[Exception | None, Result | None]:
    try:
        return None, work()
    except RequestError as error:
        # Its frames and its cause's would keep the body's values in memory until garbage collection.
        error.__traceback__ = error.__context__ = None
        return error, None
    except Exception as error:
        return error, None


@cache
def _pool() -> Any:
    from gevent.threadpool import ThreadPool

    return ThreadPool(_THREADS)
