"""Process startup: cheaper imports, and the limit of open files."""

from __future__ import annotations

import gc
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def without_collections() -> Iterator[None]:
    """Disable garbage collection in the block, and exclude all objects that exist at its end from later collections.

    For imports, because modules are never freed. Python would traverse them repeatedly as their number grows, for a
    quarter to a third of the imports' processor time (measured, medians of six).
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def without_gevent_plugins() -> Iterator[None]:
    """Hide plugins from gevent in the block; this service has none.

    While gevent patches a process it searches for plugins 25 times, each time in the metadata of every installed
    package. That takes 0.15 s of processor time per start (`gevent.events.notify_and_call_entry_points`).
    """
    from importlib import metadata

    found = metadata.entry_points
    setattr(metadata, "entry_points", lambda **_: ())  # noqa: B010 - its type is another
    try:
        yield
    finally:
        setattr(metadata, "entry_points", found)  # noqa: B010 - as above


def raise_open_files_limit(wanted: int) -> int:
    """Raise the limit of open files of this process and its children to `wanted`, at most to the hard limit.

    Each connection is an open file. Returns the new limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    max_open = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < max_open:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max_open, hard))
    return max_open
