"""The choice of the active dispatcher where no session is its own: it holds a lease, a row that it renews.

At most one dispatcher is active, because the holder stops before another may begin. Both measure on a clock of their
own that no one sets, and the database's clock counts for nothing:

- The holder is active for `HELD_SECONDS` after it has sent its last successful renewal.
- Another takes the lease once it has seen the same renewal for `_EXPIRED_SECONDS`. It names the number and the renewal
  that it has seen, so the lease is not taken if the holder has renewed it in between.
- A holder whose time is over, because it was frozen or the database did not answer, waits like any other.

Statements of duties are not fenced by the number. One that was sent before the process was frozen may end beside the
next active dispatcher, as it may with the lock (`ava.store.engine.leader_lock`). It does no harm, because each change
of a duty is one guarded statement that changes nothing the second time.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from ava.errors import DatabaseUnavailable, StatementFailed
from ava.store.engine.database import Connection, Database
from ava.store.engine.statement import Statement

__all__ = [
    "HELD_SECONDS",
    "IS_LOCKED",
    "LOCK_KEY",
    "SETTLE_SECONDS",
    "LeaderLease",
    "Lease",
    "LeaseWatch",
    "free",
    "now",
    "read",
]

#: The key of the advisory lock of `ava.store.engine.leader_lock`: "ava disp" as a number.
LOCK_KEY = 0x61766120_64697370
#: Seconds for which a dispatcher is active after it has asked whether it may be.
HELD_SECONDS = 3.0
#: Seconds without a renewal after which another may take the lease. The two clocks may differ in their speed.
_EXPIRED_SECONDS = 4.5
#: Seconds after a failure for which no dispatcher is active. The server that answers may be a standby that took over
#: without the last claims. A job that runs may be queued there, and a duty would publish it, until each process has
#: asked whether its run still holds its job, which is at most 2 s later (`ava.node.child.child`).
SETTLE_SECONDS = 3.0
#: Linux stops CLOCK_MONOTONIC while the machine sleeps.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

#: A condition: a dispatcher with a session of its own holds the lock, or is about to be active.
IS_LOCKED = f"""EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid::bigint = {LOCK_KEY >> 32} AND objid::bigint = {LOCK_KEY & 0xFFFFFFFF})"""

_READ = Statement("SELECT number, renewed_at, pg_postmaster_start_time() FROM dispatcher_lease")
_IS_LOCKED = Statement(f"SELECT {IS_LOCKED}")
_TAKE = Statement("""
UPDATE dispatcher_lease SET number = number + 1, renewed_at = clock_timestamp()
WHERE number = %(number)s AND renewed_at IS NOT DISTINCT FROM %(renewed_at)s
RETURNING number, renewed_at, pg_postmaster_start_time()
""")
_RENEW = Statement("""
UPDATE dispatcher_lease SET renewed_at = clock_timestamp() WHERE number = %(number)s AND renewed_at = %(renewed_at)s
RETURNING number, renewed_at, pg_postmaster_start_time()
""")
_FREE = Statement("""
UPDATE dispatcher_lease SET renewed_at = NULL WHERE number = %(number)s AND renewed_at = %(renewed_at)s
""")


@dataclass(frozen=True)
class Lease:
    """The row as one statement has found it."""

    number: int
    #: The database's time of the last renewal, compared for equality only; None if the lease is free.
    renewed_at: datetime | None
    #: When the server was started that answered. Another server has another time.
    server: datetime

    @property
    def key(self) -> dict[str, object]:
        """Returns what a statement names, so that it changes only the lease that was read."""
        return {"number": self.number, "renewed_at": self.renewed_at}


def now() -> float:
    """Returns the seconds of a clock that runs on while the process is frozen or its machine sleeps."""
    return time.clock_gettime(_CLOCK)


def read(connection: Connection) -> Lease:
    """Returns the lease."""
    return Lease(*connection.exec_driver_sql(_READ).one())


def free(connection: Connection, lease: Lease) -> None:
    """Free the lease if it is still as it was read, so that its holder does not hold it any longer."""
    connection.exec_driver_sql(_FREE, lease.key)


class LeaseWatch:
    """Finds on this process's own clock that a lease is not renewed any longer."""

    def __init__(self) -> None:
        self._seen: Lease | None = None
        self._seen_at = 0.0

    def is_over(self, lease: Lease) -> bool:
        """Returns True if the lease, which was just read, is free or has not been renewed for `_EXPIRED_SECONDS`."""
        moment = now()
        if lease != self._seen:
            self._seen, self._seen_at = lease, moment
        return lease.renewed_at is None or moment - self._seen_at >= _EXPIRED_SECONDS


class LeaderLease:
    """Makes one dispatcher the active one. `acquire` is called twice a second, `may_act` by any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lease: Lease | None = None
        self._watch = LeaseWatch()
        self._held_until = float("-inf")
        self._settled_at = float("-inf")
        self._server: datetime | None = None

    def acquire(self) -> bool:
        """Take the lease, or renew it.

        Returns False if another process holds it or the lock, or the database is out of reach or read-only, or was so
        within `SETTLE_SECONDS`.
        """
        began = now()
        if began >= self._held_until:
            self._lease = None
        try:
            with self._database.connect() as connection:
                self._lease = self._take(connection) if self._lease is None else self._renew(connection, self._lease)
        except (DatabaseUnavailable, StatementFailed):
            self._fail()
        self._held_until = began + HELD_SECONDS if self._lease else float("-inf")
        return self.may_act()

    def may_act(self) -> bool:
        """Returns True if this process is the active dispatcher at this moment."""
        return now() < self._held_until

    def release(self) -> None:
        """Free the lease, so that another process can take it."""
        lease, self._lease, self._held_until = self._lease, None, float("-inf")
        with suppress(DatabaseUnavailable, StatementFailed):
            if lease is not None:
                with self._database.connect() as connection:
                    free(connection, lease)
        self._database.close()

    def _fail(self) -> None:
        self._lease, self._watch = None, LeaseWatch()
        self._settled_at = now() + SETTLE_SECONDS

    def _take(self, connection: Connection) -> Lease | None:
        lease = read(connection)
        if self._server not in (None, lease.server):
            # A pooler keeps its clients' connections while the server behind it is replaced.
            self._fail()
        self._server = lease.server
        if not self._watch.is_over(lease) or now() < self._settled_at or _is_locked(connection):
            return None
        row = connection.exec_driver_sql(_TAKE, lease.key).one_or_none()
        return None if row is None else self._keep_unless_locked(connection, Lease(*row))

    def _renew(self, connection: Connection, lease: Lease) -> Lease | None:
        row = connection.exec_driver_sql(_RENEW, lease.key).one_or_none()
        renewed = None if row is None else Lease(*row)
        if renewed is None or renewed.server != lease.server:
            self._fail()
            return None
        return self._keep_unless_locked(connection, renewed)

    def _keep_unless_locked(self, connection: Connection, lease: Lease) -> Lease | None:
        # A dispatcher that has got the lock reads the lease after that, and waits until it is free. This one looks for
        # the lock after it has written the lease. So of two that begin in the same moment one sees the other.
        if not _is_locked(connection):
            return lease
        self._held_until = float("-inf")
        free(connection, lease)
        return None


def _is_locked(connection: Connection) -> bool:
    return bool(connection.exec_driver_sql(_IS_LOCKED).scalar_one())
