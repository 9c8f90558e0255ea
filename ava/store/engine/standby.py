"""Read on a standby once it has replayed everything that the primary has written.

A read asks the primary for its WAL position, which touches no table, and waits until the standby has replayed it: so it
sees every change that was confirmed before the read began. If a standby lags or does not answer, the primary serves the
reads, and the standby is not asked again for `_PAUSE_SECONDS`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from ava.errors import ConnectionsBusy, DatabaseUnavailable
from ava.store.engine.database import Connection, Database
from ava.store.engine.statement import Statement

_log = logging.getLogger(__name__)

_PAUSE_SECONDS = 1.0
_POLL_SECONDS = 0.002
#: Minimum seconds between log lines about an unusable standby.
_LOG_SECONDS = 60.0

# A standby can only receive flushed WAL.
_WRITTEN = Statement("SELECT pg_current_wal_flush_lsn()::text")
# A server that is not in recovery is not a standby; reading on the primary itself gains nothing.
_HAS_REPLAYED = Statement("""
SELECT pg_is_in_recovery() AND coalesce(pg_last_wal_replay_lsn() >= %(position)s::pg_lsn, false)
""")


@dataclass(kw_only=True)
class StandbyRead:
    """The standby reads of one request, which no other request shares."""

    #: Maximum seconds for which the standby lagged; None if it was not used.
    lag_seconds: float | None = None


class DatabaseWithStandby(Database):
    def __init__(
        self,
        url: str,
        *,
        standby: Database,
        max_lag_seconds: float,
        current_read: Callable[[], StandbyRead | None],
        **options: Any,
    ) -> None:
        """`current_read` returns the standby reads of the current thread's or greenlet's request; None: use the
        primary.

        `options` are those of `Database` for the primary.
        """
        super().__init__(url, **options)
        self._standby = standby
        self._max_lag_seconds = max_lag_seconds
        self._current_read = current_read
        self._ask_again_at = 0.0
        self._logged_at = float("-inf")

    @contextmanager
    def connect(self, *, of_process: bool = False) -> Iterator[Connection]:
        """Check out a connection, to the standby if the request may read there. Raises like `Database.connect`."""
        read = None if of_process else self._current_read()
        with ExitStack() as stack:
            connection = None if read is None else self._connect_to_standby(read, stack)
            if connection is None:
                connection = stack.enter_context(super().connect(of_process=of_process))
            yield connection

    def _connect_to_standby(self, read: StandbyRead, stack: ExitStack) -> Connection | None:
        """Return a connection to a standby that has caught up with the primary; None if none does in time."""
        if time.monotonic() < self._ask_again_at:
            return None
        with super().connect() as primary:
            position = written_position(primary)
        try:
            # Leaving the block translates the errors of statements.
            with ExitStack() as attempt:
                connection = attempt.enter_context(self._standby.connect())
                lag = measure_lag(connection, position, max_seconds=self._max_lag_seconds)
                if lag is not None:
                    read.lag_seconds = max(lag, read.lag_seconds or 0.0)
                    stack.enter_context(attempt.pop_all())
                    return connection
        except ConnectionsBusy:
            # The primary must not get the load that is too much for the standby.
            raise
        except DatabaseUnavailable:
            self.leave_standby("it does not respond")
            return None
        self.leave_standby("its replication lag is too long, or it is not a standby")
        return None

    def leave_standby(self, reason: str) -> None:
        """Read on the primary for the next `_PAUSE_SECONDS`."""
        now = time.monotonic()
        self._ask_again_at = now + _PAUSE_SECONDS
        if now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            _log.warning("DATABASE_READ_URL: the standby is not used, and reads go to the primary: %s", reason)

    def close(self) -> None:
        super().close()
        self._standby.close()


def written_position(primary: Connection) -> str:
    position: str = primary.exec_driver_sql(_WRITTEN).scalar_one()
    return position


def measure_lag(standby: Connection, position: str, *, max_seconds: float) -> float | None:
    """Return the seconds until a standby has replayed a position, or None if that takes too long."""
    began = time.monotonic()
    while not standby.exec_driver_sql(_HAS_REPLAYED, {"position": position}).scalar_one():
        if time.monotonic() - began >= max_seconds:
            return None
        time.sleep(_POLL_SECONDS)
    return time.monotonic() - began
