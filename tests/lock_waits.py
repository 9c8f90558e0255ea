"""Transactions that wait for each other: a test holds one open until others wait for what it has locked."""

from __future__ import annotations

from ava.store.engine.database import Database
from harness.polling import wait_until

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def await_lock_waits(database: Database, count: int = 1) -> None:
    """Returns once so many sessions wait for locks."""
    with database.connect() as connection:
        wait_until(lambda: connection.exec_driver_sql(_WAITING).scalar() == count, what=f"{count} waits for a lock")
