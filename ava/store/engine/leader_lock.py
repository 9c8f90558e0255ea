"""The choice of the active dispatcher: it holds an advisory lock of PostgreSQL."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import psycopg2
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError

from ava.store.engine.database import driver_url
from ava.store.engine.statement import Statement

__all__ = ["LOCK_KEY", "Leadership", "has_own_session"]

#: The key of the lock: "ava disp" as a number.
LOCK_KEY = 0x61766120_64697370
#: PostgreSQL ends the session, and so frees the lock, of a process that is frozen or cut off.
_SESSION = "-c idle_session_timeout=3000 -c statement_timeout=2000"

#: Seconds after a failure for which no dispatcher is active. The server that answers may be a standby that took over
#: without the last claims. A job that runs may be queued there, and a duty would publish it, until each process has
#: asked whether its run still holds its job, which is at most 2 s later (`ava.node.child.child`).
_SETTLE_SECONDS = 3.0

_TRY_LOCK = Statement("SELECT pg_try_advisory_lock(%(key)s), current_setting('transaction_read_only') = 'off'")

_IDLE_TIMEOUT = Statement("SELECT current_setting('idle_session_timeout') = '3s'")


def has_own_session(url: str) -> bool:
    """Returns True if a connection gets the settings of the lock's session, which a pooler may drop or refuse."""
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            return bool(connection.exec_driver_sql(_IDLE_TIMEOUT).scalar())
    except DBAPIError:
        return False
    finally:
        engine.dispose()


def _engine(url: str) -> Engine:
    return create_engine(
        driver_url(url),
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
        connect_args={"connect_timeout": 2, "application_name": "ava dispatcher lock", "options": _SESSION},
    )


class Leadership:
    """Makes one dispatcher the active one. It has a connection of its own; `acquire` is called once a second."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._connection: Any = None
        self._has_failed = False
        #: From when on it may be active, on the monotonic clock.
        self._settled_at = 0.0

    def acquire(self) -> bool:
        """Acquire the lock, or check that this process still holds it.

        Returns False if another process holds it, or the database is out of reach or read-only, or was so within
        `_SETTLE_SECONDS`: nodes cannot write their heartbeats then, and a new session may lead to the new primary.
        """
        try:
            is_held, is_writable = self._try_lock()
        except (DBAPIError, psycopg2.Error):
            is_held = is_writable = False
        if not is_writable:
            self._has_failed = True
            self.release()
            return False
        if self._has_failed:
            self._has_failed, self._settled_at = False, time.monotonic() + _SETTLE_SECONDS
        return is_held and time.monotonic() >= self._settled_at

    def _try_lock(self) -> tuple[bool, bool]:
        if self._connection is None:
            self._connection = self._engine.connect()
        # A session may acquire the lock more than once; its end frees all of them.
        is_held, is_writable = self._connection.exec_driver_sql(_TRY_LOCK, {"key": LOCK_KEY}).one()
        return is_held, is_writable

    def release(self) -> None:
        """Close the session, so that another process can acquire the lock."""
        if self._connection is not None:
            with suppress(DBAPIError, psycopg2.Error):
                self._connection.invalidate()
                self._connection.close()
            self._connection = None
        self._engine.dispose()
