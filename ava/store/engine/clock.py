"""The one clock: PostgreSQL's."""

from __future__ import annotations

from datetime import datetime

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

_NOW = Statement("SELECT clock_timestamp()")


def now(connection: Connection) -> datetime:
    """Returns the time of the database's clock, from which every time in a record is taken."""
    moment: datetime = connection.exec_driver_sql(_NOW).scalar_one()
    return moment
