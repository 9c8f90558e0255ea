"""Which run a thread belongs to: that of the thread by which it was started.

A thread that was there before a run belongs to none, and so do the threads that it starts, however late. Threads that
are started below Python's `threading` belong to none either, because their descent is not known. While a thread
collects garbage it belongs to none, because the garbage may be that of an earlier run.
"""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from functools import partial
from typing import Any

#: The attribute of a thread that holds its run.
_RUN = "_ava_run"

#: What the last collection of garbage said at its start and at its stop, in the order in which it said them.
_phases: OrderedDict[str, Any] = OrderedDict(start=None, stop=None)
#: The same for the collections of each thread.
_own_phases = threading.local()
#: Functions of C: a signal handler that raises in one of Python would leave a collection begun, and its error lost.
_ON_COLLECTION: tuple[Any, ...] = (_phases.__setitem__, _phases.move_to_end, partial(setattr, _own_phases))


def follow() -> None:
    """Note from now on to which run each thread belongs that is started, and which thread collects garbage."""
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
    """Let the main thread, and the threads that it starts, belong to a run."""
    setattr(threading.main_thread(), _RUN, run)


def end() -> None:
    """Let the main thread belong to no run. The threads of the run still belong to it."""
    setattr(threading.main_thread(), _RUN, None)


def are_left() -> bool:
    """Returns True if a thread of an ended run still lives; called between runs."""
    return any(getattr(thread, _RUN, None) is not None for thread in threading.enumerate())


def is_foreign(run: object) -> bool:
    """Returns True if this thread does not belong to a run, or collects garbage."""
    return getattr(threading.current_thread(), _RUN, None) is not run or _is_collecting()


def _is_collecting() -> bool:
    return next(reversed(_phases)) == "start" and getattr(_own_phases, "start", None) is _phases["start"]
