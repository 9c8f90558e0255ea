"""Who of several dispatchers is active: the one that holds an advisory lock of PostgreSQL."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import psycopg2
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError

from ava.store.engine.database import driver_url

__all__ = ["LOCK_KEY", "Leadership"]

#: The key of the lock: "ava disp" as a number.
LOCK_KEY = 0x61766120_64697370
#: PostgreSQL takes the lock from whoever has not asked for it so long: frozen, cut off, or gone without a word.
_SESSION = "-c idle_session_timeout=3000 -c statement_timeout=2000"
#: Between two calls of `acquire`, at most so many seconds, or it is not known what happened meanwhile.
_GAP_SECONDS = 3.0


class Leadership:
    """Makes one dispatcher the active one. It has a connection of its own; `acquire` is called once a second."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(
            driver_url(url),
            isolation_level="AUTOCOMMIT",
            pool_size=1,
            max_overflow=0,
            connect_args={"connect_timeout": 2, "application_name": "ava dispatcher lock", "options": _SESSION},
        )
        self._connection: Any = None
        self._reached_since: float | None = None
        self._reached_at = float("-inf")

    def acquire(self) -> bool:
        """Take the lock, or make sure that we still have it; False where another has it or the database is away."""
        began = time.monotonic()
        try:
            is_ours = self._ask()
        except (DBAPIError, psycopg2.Error):
            self.release()
            self._reached_since = None
            return False
        if self._reached_since is None or began - self._reached_at > _GAP_SECONDS:
            self._reached_since = time.monotonic()
        self._reached_at = time.monotonic()
        return is_ours

    def _ask(self) -> bool:
        if self._connection is None:
            self._connection = self._engine.connect()
        # A session may take the lock more than once; all of it goes with the session.
        statement = "SELECT pg_try_advisory_lock(%(key)s)"
        return bool(self._connection.exec_driver_sql(statement, {"key": LOCK_KEY}).scalar())

    @property
    def reachable_seconds(self) -> float:
        """For how long the database has been reached without a break, as far as this process knows."""
        now = time.monotonic()
        if self._reached_since is None or now - self._reached_at > _GAP_SECONDS:
            return 0.0
        return now - self._reached_since

    def release(self) -> None:
        """Let another be the active one."""
        if self._connection is not None:
            with suppress(DBAPIError, psycopg2.Error):
                self._connection.invalidate()
                self._connection.close()
            self._connection = None
        self._engine.dispose()
