"""Track which run a thread belongs to: a thread inherits the run of the thread that started it.

No run owns threads that existed before it, the threads that these start, and threads started below Python's
`threading`, whose parent is unknown. A thread that collects garbage belongs to no run, because the garbage may be of an
earlier one.
"""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from functools import partial
from typing import Any

_RUN = "_ava_run"

#: Arguments of the last garbage collection's start and stop callbacks, in call order.
_phases: OrderedDict[str, Any] = OrderedDict(start=None, stop=None)
#: The same, per thread.
_own_phases = threading.local()
#: C functions: if a signal handler raised in a Python callback, the collection would stay marked as begun, and the
#: error would be lost.
_ON_COLLECTION: tuple[Any, ...] = (_phases.__setitem__, _phases.move_to_end, partial(setattr, _own_phases))


def follow() -> None:
    """Record from now on each started thread's run, and the thread that collects garbage."""
    gc.callbacks.extend(callback for callback in _ON_COLLECTION if callback not in gc.callbacks)
    start = threading.Thread.start
    if hasattr(start, _RUN):
        return

    def start_in_run(thread: threading.Thread) -> None:
        setattr(thread, _RUN, getattr(threading.current_thread(), _RUN, None))
        start(thread)

    setattr(start_in_run, _RUN, None)
    setattr(threading.Thread, start.__name__, start_in_run)


def begin(run: object) -> None:
    setattr(threading.main_thread(), _RUN, run)


def end() -> None:
    """Assign the main thread to no run; the run's other threads still belong to it."""
    setattr(threading.main_thread(), _RUN, None)


def are_left() -> bool:
    """Return True if a thread of an ended run is alive; called between runs."""
    return any(getattr(thread, _RUN, None) is not None for thread in threading.enumerate())


def is_foreign(run: object) -> bool:
    return getattr(threading.current_thread(), _RUN, None) is not run or _is_collecting()


def _is_collecting() -> bool:
    return next(reversed(_phases)) == "start" and getattr(_own_phases, "start", None) is _phases["start"]
