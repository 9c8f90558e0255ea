"""Long work outside the event loop, in threads of its own, so that other requests go on meanwhile.

The work must be pure: no database, no request, no lock that greenlets use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

#: Work on fewer bytes is done where it arises, because a thread would cost more than it.
LARGE_BYTES = 2**16
#: Threads of one process. More would compete for the interpreter with the event loop.
_THREADS = 2

Result = TypeVar("Result")


def run(work: Callable[[], Result]) -> Result:
    """Returns what `work` returns, and raises what it raises; other greenlets run meanwhile."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return work()
    # An error comes back as a value, because gevent would print it.
    error, result = _pool().apply(_attempt, (work,))
    if error is not None:
        raise error
    finished: Result = result
    return finished


def _attempt(work: Callable[[], Result]) -> tuple[Exception | None, Result | None]:
    try:
        return None, work()
    except Exception as error:
        return error, None


@cache
def _pool() -> Any:
    from gevent.threadpool import ThreadPool

    return ThreadPool(_THREADS)
