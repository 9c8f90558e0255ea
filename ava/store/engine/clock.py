"""The one clock: PostgreSQL's."""

from __future__ import annotations

from datetime import datetime

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

_NOW = Statement("SELECT clock_timestamp()")
_TRANSACTION_TIME = Statement("SELECT now()")


def now(connection: Connection) -> datetime:
    """Returns the time of the database's clock, from which every time in a record is taken."""
    moment: datetime = connection.exec_driver_sql(_NOW).scalar_one()
    return moment


def transaction_time(connection: Connection) -> datetime:
    """Returns the time at which the current transaction started. It is the `now()` of the transaction's statements."""
    moment: datetime = connection.exec_driver_sql(_TRANSACTION_TIME).scalar_one()
    return moment
