"""Limit a webhook sender: connections and bytes of requests in flight, and its share of the processors.

Operating-system priorities are not enough for the processors: in every gap between jobs, a sender keeps PostgreSQL and
its receivers busy, and jobs share PostgreSQL and the machine with them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ava.store.webhooks.endpoint_leases import DueDelivery

#: Nanoseconds that our thread ran, and that it was ready but waited (Linux, `sched-stats.rst`).
_SCHEDSTAT = Path("/proc/self/schedstat")
#: Processors are short if our thread waits at least this fraction of its running time.
_SHORTAGE_RATIO = 0.4
#: Maximum seconds that events may have waited; beyond it the sender no longer pauses.
_MAX_DELAY_SECONDS = 30.0
#: Maximum seconds of a pause, and of the debt.
_LONGEST_PAUSE_SECONDS = 1.0
#: Maximum bytes of large bodies in flight. Each is in memory three times: as read, encoded, and as sent.
MAX_BODY_BYTES = 24 * 2**20
#: Maximum share of connections and of bytes per tenant.
_LARGEST_TENANT_SHARE = 0.25


class CpuThrottle:
    """Computes the pauses that limit a sender to its share of a processor."""

    def __init__(self, niceness: int, *, stat: Path = _SCHEDSTAT) -> None:
        """A `niceness` of n > 0 limits the sender to 1/n of a processor; 0 disables the throttle."""
        self._niceness = niceness
        self._stat = stat
        self._at = time.monotonic()
        self._ran, self._waited = self._read()
        self._debt_seconds = 0.0
        self._statement_seconds = 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the time of statements that load PostgreSQL's processor as running time of the sender."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._statement_seconds += time.monotonic() - began

    def pause_seconds(self, delay_seconds: float) -> float:
        """Return the seconds to pause now; 0 if processors are not short.

        Running time since the last call adds to the debt, and elapsed time pays it off.

        `delay_seconds`: waiting time of the first events that are not fanned out, of the tenant with the smallest lag.
        So a tenant with more events than its share does not end the pauses while other tenants have events.
        """
        at, (ran, waited) = time.monotonic(), self._read()
        elapsed, run, wait = at - self._at, ran - self._ran, waited - self._waited
        self._at, self._ran, self._waited = at, ran, waited
        busy, self._statement_seconds = run + self._statement_seconds, 0.0
        if wait < _SHORTAGE_RATIO * run or delay_seconds > _MAX_DELAY_SECONDS:
            self._debt_seconds = 0.0
        else:
            debt = self._debt_seconds + busy * self._niceness - elapsed
            self._debt_seconds = min(max(0.0, debt), _LONGEST_PAUSE_SECONDS)
        return self._debt_seconds

    def _read(self) -> tuple[float, float]:
        """Return the seconds that the thread ran and waited for a processor; zeros if the system does not tell."""
        try:
            ran, waited, _ = map(int, self._stat.read_bytes().split())
        except (OSError, ValueError):
            return 0.0, 0.0
        return ran / 1e9, waited / 1e9


class SendBudget:
    """Counts connections and bytes in use. The limits per tenant keep capacity free for other tenants."""

    def __init__(self, connections: int, *, body_bytes: int = MAX_BODY_BYTES) -> None:
        self._max_connections = connections
        self._max_connections_of_tenant = max(1, int(connections * _LARGEST_TENANT_SHARE))
        self._max_bytes = body_bytes
        self._max_bytes_of_tenant = int(body_bytes * _LARGEST_TENANT_SHARE)
        self.open_connections = 0
        self._reserved_bytes = 0
        self._connections_of: Counter[str] = Counter()
        self._bytes_of: Counter[str] = Counter()

    def has_connection(self, tenant_id: str | None = None) -> bool:
        """Return True if a request may start: to an endpoint of this tenant, or to any."""
        if self.open_connections >= self._max_connections:
            return False
        return tenant_id is None or self._connections_of[tenant_id] < self._max_connections_of_tenant

    def fits(self, delivery: DueDelivery) -> bool:
        """Return True if a delivery's body fits in memory. A tenant's only body in flight may have any size."""
        size, reserved = delivery.bytes_to_read, self._bytes_of[delivery.tenant_id]
        if not size:
            return True
        fits_tenant = not reserved or reserved + size <= self._max_bytes_of_tenant
        return fits_tenant and (not self._reserved_bytes or self._reserved_bytes + size <= self._max_bytes)

    def take(self, delivery: DueDelivery) -> None:
        """Count a starting request."""
        self._count(delivery, 1)

    def release(self, delivery: DueDelivery) -> None:
        """Count a request that has ended."""
        self._count(delivery, -1)

    def _count(self, delivery: DueDelivery, sign: int) -> None:
        tenant = delivery.tenant_id
        self.open_connections += sign
        self._connections_of[tenant] += sign
        self._reserved_bytes += sign * delivery.bytes_to_read
        self._bytes_of[tenant] += sign * delivery.bytes_to_read
        if not self._connections_of[tenant]:
            del self._connections_of[tenant], self._bytes_of[tenant]
