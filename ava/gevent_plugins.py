"""The plugins that gevent looks for when it patches a process; this service has none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata


@contextmanager
def ignored() -> Iterator[None]:
    """Let gevent find no plugins, for the length of a `with`.

    It looks for them 25 times, each time in the metadata of every installed package, which takes 0.15 s of processor
    time at each start (`gevent.events.notify_and_call_entry_points`).
    """
    found = metadata.entry_points
    setattr(metadata, "entry_points", lambda **_: ())  # noqa: B010 - its type is another
    try:
        yield
    finally:
        setattr(metadata, "entry_points", found)  # noqa: B010 - as above
