"""Elect the active dispatcher: it holds a lease, a row that it renews.

At most one dispatcher is active, because the holder stops before another may begin. Each process uses its local clock,
which no one can set:

- The holder is active for `_HELD_SECONDS` after sending its last successful renewal.
- Another dispatcher takes the lease once it has seen the same renewal for `_EXPIRED_SECONDS`. It names the number and
  renewal that it has seen, so it fails if the holder has renewed in between.
- A holder whose lease expired, because it was frozen or the database did not answer, becomes active again only if it
  renews before another takes the lease.

So a killed dispatcher is replaced within `_EXPIRED_SECONDS` plus twice `RENEWAL_SECONDS`: it may have just renewed, and
the others read the lease once per `RENEWAL_SECONDS`.

The lease number does not fence the statements of duties: one sent before a freeze may end after the next dispatcher
became active. This is harmless, because each change of a duty is one guarded, idempotent statement.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ava.errors import DatabaseUnavailable, StatementFailed
from ava.store.engine.database import Connection, Database
from ava.store.engine.statement import IS_UNFLUSHED, Statement

if TYPE_CHECKING:
    from ava.settings import Settings

#: Seconds between calls of `LeaderLease.acquire`.
RENEWAL_SECONDS = 0.25
#: Seconds for which a dispatcher is active after the start of a successful request.
_LEASED_SECONDS = 1.5
#: Seconds without a renewal after which another may take the lease; longer, as clocks differ in speed.
_EXPIRED_SECONDS = 2.0
#: So that the process soon asks again.
_STATEMENT_SECONDS = 2.0
#: Seconds after a failure in which no dispatcher is active. The answering server may be a standby that was promoted
#: without the last claims: a duty would publish running jobs that are queued there, until each process has checked, at
#: most 2 s later, whether its run still owns its job (`ava.node.child.child`).
_SETTLE_SECONDS = 3.0
#: Linux stops CLOCK_MONOTONIC while the machine sleeps.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_READ = Statement("SELECT number, renewed_at, pg_postmaster_start_time() FROM dispatcher_lease")
_TAKE = Statement("""
UPDATE dispatcher_lease SET number = number + 1, renewed_at = clock_timestamp()
WHERE number = %(number)s AND renewed_at IS NOT DISTINCT FROM %(renewed_at)s
RETURNING number, renewed_at, pg_postmaster_start_time()
""")
# A server crash may undo a renewal, but not the number that the holder has taken.
_RENEW = Statement(f"""
UPDATE dispatcher_lease SET renewed_at = clock_timestamp()
WHERE number = %(number)s AND renewed_at = %(renewed_at)s AND {IS_UNFLUSHED}
RETURNING number, renewed_at, pg_postmaster_start_time()
""")
_FREE = Statement("""
UPDATE dispatcher_lease SET renewed_at = NULL WHERE number = %(number)s AND renewed_at = %(renewed_at)s
""")
_HAS_LEADER = Statement(f"""
SELECT EXISTS (SELECT 1 FROM dispatcher_lease WHERE renewed_at > clock_timestamp() - '{_EXPIRED_SECONDS} s'::interval)
""")


@dataclass(frozen=True)
class Lease:
    number: int
    #: The database's time of the last renewal, only compared for equality; None if the lease is free.
    renewed_at: datetime | None
    #: Start time of the answering server, which identifies it.
    server: datetime

    @property
    def key(self) -> dict[str, object]:
        """Return the parameters that restrict a statement to the lease that was read."""
        return {"number": self.number, "renewed_at": self.renewed_at}


def now() -> float:
    """Return the seconds of a clock that continues while the process is frozen or the machine sleeps."""
    return time.clock_gettime(_CLOCK)


def has_leader(connection: Connection) -> bool:
    """Return True if a dispatcher has recently renewed the lease, by the database's clock."""
    return bool(connection.exec_driver_sql(_HAS_LEADER).scalar_one())


def await_leader(connection: Connection) -> bool:
    """Return True once a dispatcher is active, or False if none becomes active in the time that a failover takes."""
    deadline = now() + _EXPIRED_SECONDS + _SETTLE_SECONDS
    while not (found := has_leader(connection)) and now() < deadline:
        time.sleep(RENEWAL_SECONDS)
    return found


class LeaseWatch:
    """A detector of an expired lease, by this process's clock."""

    def __init__(self) -> None:
        self._seen: Lease | None = None
        self._seen_at = 0.0

    def has_expired(self, lease: Lease) -> bool:
        """Return True if the lease just read is free or has not been renewed for `_EXPIRED_SECONDS`."""
        read_at = now()
        if lease != self._seen:
            self._seen, self._seen_at = lease, read_at
        return lease.renewed_at is None or read_at - self._seen_at >= _EXPIRED_SECONDS


class LeaderLease:
    """The election of one active dispatcher: call `acquire` every `RENEWAL_SECONDS`, and `may_act` in any thread."""

    def __init__(self, settings: Settings) -> None:
        self._database = Database.of(
            settings, name="dispatcher lease", pool_size=1, statement_seconds=_STATEMENT_SECONDS
        )
        self._lease: Lease | None = None
        self._watch = LeaseWatch()
        self._leased_until = float("-inf")
        self._settled_at = float("-inf")
        self._server: datetime | None = None

    def acquire(self) -> bool:
        """Take or renew the lease. Returns True if this process is the active dispatcher.

        Returns False if another process holds the lease, or if the database is unreachable or read-only, or was within
        the last `_SETTLE_SECONDS`.
        """
        began = now()
        try:
            with self._database.connect() as connection:
                self._lease = self._take(connection) if self._lease is None else self._renew(connection, self._lease)
        except (DatabaseUnavailable, StatementFailed):
            self._fail()
        self._leased_until = began + _LEASED_SECONDS if self._lease else float("-inf")
        return self.may_act()

    def may_act(self) -> bool:
        """Return True if this process is the active dispatcher now, even if `acquire` is late."""
        return now() < self._leased_until

    def release(self) -> None:
        """Free the lease, so that another process can take it immediately."""
        lease, self._lease, self._leased_until = self._lease, None, float("-inf")
        with suppress(DatabaseUnavailable, StatementFailed):
            if lease is not None:
                with self._database.connect() as connection:
                    connection.exec_driver_sql(_FREE, lease.key)
        self._database.close()

    def _fail(self) -> None:
        self._lease, self._watch = None, LeaseWatch()
        self._settled_at = now() + _SETTLE_SECONDS

    def _take(self, connection: Connection) -> Lease | None:
        lease = Lease(*connection.exec_driver_sql(_READ).one())
        if self._server not in (None, lease.server):
            # A pooler keeps client connections open while the server behind it is replaced.
            self._fail()
        self._server = lease.server
        if not self._watch.has_expired(lease) or now() < self._settled_at:
            return None
        row = connection.exec_driver_sql(_TAKE, lease.key).one_or_none()
        return None if row is None else Lease(*row)

    def _renew(self, connection: Connection, lease: Lease) -> Lease | None:
        row = connection.exec_driver_sql(_RENEW, lease.key).one_or_none()
        renewed = None if row is None else Lease(*row)
        if renewed is None or renewed.server != lease.server:
            self._fail()
            return None
        return renewed
