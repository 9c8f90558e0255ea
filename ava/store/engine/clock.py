"""The one clock: PostgreSQL's."""

from __future__ import annotations

from datetime import datetime

from ava.store.engine.database import Connection

__all__ = ["now"]


def now(connection: Connection) -> datetime:
    """The present moment by the clock that every time in a record is taken from."""
    moment: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
    return moment
