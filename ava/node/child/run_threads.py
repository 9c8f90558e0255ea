"""Which run a thread belongs to: that of the thread by which it was started.

A thread that was there before a run belongs to none, and so do the threads that it starts, however late. Threads that
are started below Python's `threading` belong to none either, because their descent is not known.
"""

from __future__ import annotations

import threading

__all__ = ["begin", "end", "follow", "is_foreign"]

#: The attribute of a thread that holds its run.
_RUN = "_ava_run"


def follow() -> None:
    """Note from now on, whenever a thread is started, to which run it belongs."""
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


def is_foreign(run: object) -> bool:
    """Returns True if this thread does not belong to a run."""
    return getattr(threading.current_thread(), _RUN, None) is not run
