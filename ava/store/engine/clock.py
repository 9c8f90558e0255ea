"""The single clock: PostgreSQL's, and the UUIDs that it orders."""

from __future__ import annotations

from datetime import datetime

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

_NOW = Statement("SELECT clock_timestamp()")


def now(connection: Connection) -> datetime:
    """Return the time of the database's clock, the source of all times in records."""
    timestamp: datetime = connection.exec_driver_sql(_NOW).scalar_one()
    return timestamp


_NEW_UUIDS = Statement("SELECT ava_uuid7()::text FROM generate_series(1, %(count)s)")


def new_uuids(connection: Connection, count: int) -> list[str]:
    return sorted(connection.exec_driver_sql(_NEW_UUIDS, {"count": count}).scalars())
