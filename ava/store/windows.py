"""The windows that take no more messages from the API: written by the dispatcher, read by whoever publishes."""

from __future__ import annotations

from ava.store.database import Connection

__all__ = ["closed"]


def closed(connection: Connection) -> frozenset[str]:
    """The closed windows, each as `queue:priority`."""
    found = connection.exec_driver_sql("SELECT queue || ':' || priority FROM closed_windows")
    return frozenset(found.scalars())
