"""The single clock: PostgreSQL's."""

from __future__ import annotations

from datetime import datetime

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

_NOW = Statement("SELECT clock_timestamp()")


def now(connection: Connection) -> datetime:
    """Return the time of the database's clock, the source of all times in records."""
    moment: datetime = connection.exec_driver_sql(_NOW).scalar_one()
    return moment
