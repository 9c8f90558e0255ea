"""Who of several dispatchers is active: the one that holds an advisory lock of PostgreSQL."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg2
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError

from ava.store.database import driver_url

__all__ = ["LOCK_KEY", "Leadership"]

#: The key of the lock: "ava disp" as a number.
LOCK_KEY = 0x61766120_64697370
#: How PostgreSQL finds out that we are gone where no packet says so: in 2 + 2 × 1 seconds.
_KEEPALIVES = "-c tcp_keepalives_idle=2 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=2"


class Leadership:
    """One process's claim to be the active dispatcher, on a connection of its own."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(
            driver_url(url),
            isolation_level="AUTOCOMMIT",
            pool_size=1,
            max_overflow=0,
            connect_args={"connect_timeout": 2, "application_name": "ava dispatcher lock", "options": _KEEPALIVES},
        )
        self._connection: Any = None

    def hold(self) -> bool:
        """Take the lock, or make sure that we still have it; False where another has it or the database is away."""
        try:
            if self._connection is not None:
                # The lock lasts as long as its connection does, and this tells whether that does.
                self._connection.exec_driver_sql("SELECT 1")
                return True
            connection = self._engine.connect()
            taken = connection.exec_driver_sql("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).scalar()
            if taken:
                self._connection = connection
            else:
                connection.close()
            return bool(taken)
        except (DBAPIError, psycopg2.Error):
            self.give_up()
            return False

    def give_up(self) -> None:
        """Let another be the active one."""
        if self._connection is not None:
            with suppress(DBAPIError, psycopg2.Error):
                self._connection.invalidate()
                self._connection.close()
            self._connection = None
        self._engine.dispose()
