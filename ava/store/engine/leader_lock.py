"""The choice of the active dispatcher: it holds an advisory lock of PostgreSQL."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg2
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError

from ava.store.engine import leader_lease
from ava.store.engine.database import driver_url
from ava.store.engine.leader_lease import HELD_SECONDS, LOCK_KEY, SETTLE_SECONDS, LeaseWatch
from ava.store.engine.statement import Statement

__all__ = ["LeaderLock", "has_own_session"]

#: PostgreSQL ends the session, and so frees the lock, of a process that is frozen or cut off.
_SESSION = "-c idle_session_timeout=3000 -c statement_timeout=2000"

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


class LeaderLock:
    """Makes one dispatcher the active one. It has a connection of its own; `acquire` is called twice a second."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._connection: Any = None
        self._has_failed = False
        #: From when on it may be active, and until when it is, on the clock of `leader_lease`.
        self._settled_at = self._held_until = float("-inf")
        self._watch = LeaseWatch()

    def acquire(self) -> bool:
        """Acquire the lock, or check that this process still holds it.

        Returns False if another process holds it or the lease (`leader_lease`), or the database is out of reach or
        read-only, or was so within `SETTLE_SECONDS`: nodes cannot write their heartbeats then, and a new session may
        lead to the new primary.
        """
        began = leader_lease.now()
        try:
            is_held, is_writable = self._try_lock()
        except (DBAPIError, psycopg2.Error):
            is_held = is_writable = False
        if not is_writable:
            self._has_failed, self._held_until = True, float("-inf")
            self.release()
            return False
        if self._has_failed:
            self._has_failed, self._settled_at = False, leader_lease.now() + SETTLE_SECONDS
        is_active = is_held and began >= self._settled_at
        self._held_until = began + HELD_SECONDS if is_active else float("-inf")
        return self.may_act()

    def may_act(self) -> bool:
        """Returns True if this process is the active dispatcher at this moment. Any thread may call it.

        The server ends a session that is idle for `HELD_SECONDS`.
        """
        return leader_lease.now() < self._held_until

    def _try_lock(self) -> tuple[bool, bool]:
        if self._connection is None:
            self._connection = self._engine.connect()
        # A session may acquire the lock more than once; its end frees all of them.
        is_held, is_writable = self._connection.exec_driver_sql(_TRY_LOCK, {"key": LOCK_KEY}).one()
        if is_held and is_writable and not self.may_act():
            is_held = self._is_lease_free()
        return is_held, is_writable

    def _is_lease_free(self) -> bool:
        """Returns True if no dispatcher without a session of its own is active. One that sees the lock stops."""
        lease = leader_lease.read(self._connection)
        if not self._watch.is_over(lease):
            return False
        if lease.renewed_at is not None:
            leader_lease.free(self._connection, lease)
            return leader_lease.read(self._connection).renewed_at is None
        return True

    def release(self) -> None:
        """Close the session, so that another process can acquire the lock."""
        self._held_until = float("-inf")
        if self._connection is not None:
            with suppress(DBAPIError, psycopg2.Error):
                self._connection.invalidate()
                self._connection.close()
            self._connection = None
        self._engine.dispose()
