"""Track which run a thread belongs to: a thread inherits the run of the thread that started it.

Threads that existed before a run, and all threads that they start, belong to no run. Neither do threads started below
Python's `threading`, because their parent is unknown. While a thread collects garbage it belongs to no run, because the
garbage may belong to an earlier run.
"""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from functools import partial
from typing import Any

#: The thread attribute that holds its run.
_RUN = "_ava_run"

#: Arguments of the last garbage collection's start and stop callbacks, in call order.
_phases: OrderedDict[str, Any] = OrderedDict(start=None, stop=None)
#: The same, per thread.
_own_phases = threading.local()
#: C functions: if a signal handler raised in a Python callback, the collection would stay marked as begun, and the
#: error would be lost.
_ON_COLLECTION: tuple[Any, ...] = (_phases.__setitem__, _phases.move_to_end, partial(setattr, _own_phases))


def follow() -> None:
    """Record from now on the run of each started thread, and the thread that collects garbage."""
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
    """Assign the main thread, and the threads that it starts, to a run."""
    setattr(threading.main_thread(), _RUN, run)


def end() -> None:
    """Assign the main thread to no run. The run's other threads still belong to it."""
    setattr(threading.main_thread(), _RUN, None)


def are_left() -> bool:
    """Return True if a thread of an ended run is still alive; called between runs."""
    return any(getattr(thread, _RUN, None) is not None for thread in threading.enumerate())


def is_foreign(run: object) -> bool:
    """Return True if this thread does not belong to the run, or collects garbage."""
    return getattr(threading.current_thread(), _RUN, None) is not run or _is_collecting()


def _is_collecting() -> bool:
    return next(reversed(_phases)) == "start" and getattr(_own_phases, "start", None) is _phases["start"]
