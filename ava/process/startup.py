"""The start of a process: imports that cost less, and the limit of open files."""

from __future__ import annotations

import gc
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def without_collections() -> Iterator[None]:
    """Collect no garbage in the block, and exclude what exists at its end from later collections.

    For imports: modules stay for as long as the process. Python would traverse all of them again and again while their
    number grows, for a quarter to a third of the processor time of the imports (measured, medians of six).
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def without_gevent_plugins() -> Iterator[None]:
    """Let gevent find no plugins in the block; this service has none.

    While gevent patches a process it looks for them 25 times, each time in the metadata of every installed package,
    which takes 0.15 s of processor time at each start (`gevent.events.notify_and_call_entry_points`).
    """
    from importlib import metadata

    found = metadata.entry_points
    setattr(metadata, "entry_points", lambda **_: ())  # noqa: B010 - its type is another
    try:
        yield
    finally:
        setattr(metadata, "entry_points", found)  # noqa: B010 - as above


def raise_open_files_limit(wanted: int) -> int:
    """Raise the limit of open files of this process and its children to `wanted`, or to the machine's.

    Each connection is an open file. Returns the new limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
