"""Limits on requests in flight of one sender: connections and bytes of bodies, in total and per tenant."""

from __future__ import annotations

from collections import Counter

from ava.store.webhooks.endpoint_leases import DueDelivery

#: Maximum bytes of large bodies in flight. Each is in memory three times: as read, encoded, and as sent.
MAX_BODY_BYTES = 24 * 2**20
#: Maximum share of connections and of bytes per tenant.
_LARGEST_TENANT_SHARE = 0.25


class SendBudget:
    """Counts connections and bytes in use. The limits per tenant keep capacity free for other tenants."""

    def __init__(self, connections: int, *, body_bytes: int = MAX_BODY_BYTES) -> None:
        self._max_connections = connections
        self._max_connections_of_tenant = max(1, int(connections * _LARGEST_TENANT_SHARE))
        self._max_bytes = body_bytes
        self._max_bytes_of_tenant = int(body_bytes * _LARGEST_TENANT_SHARE)
        self.open_connections = 0
        self._held_bytes = 0
        self._connections_of: Counter[str] = Counter()
        self._bytes_of: Counter[str] = Counter()

    def has_connection(self, tenant_id: str | None = None) -> bool:
        """Return True if a request may start: to an endpoint of this tenant, or to any."""
        if self.open_connections >= self._max_connections:
            return False
        return tenant_id is None or self._connections_of[tenant_id] < self._max_connections_of_tenant

    def fits(self, delivery: DueDelivery) -> bool:
        """Return True if a delivery's body fits in memory. A tenant's only body in flight may have any size."""
        size, held = delivery.bytes_to_read, self._bytes_of[delivery.tenant_id]
        if not size:
            return True
        fits_tenant = not held or held + size <= self._max_bytes_of_tenant
        return fits_tenant and (not self._held_bytes or self._held_bytes + size <= self._max_bytes)

    def take(self, delivery: DueDelivery) -> None:
        """Count a starting request."""
        self._count(delivery, 1)

    def give_back(self, delivery: DueDelivery) -> None:
        """Count a request that has ended."""
        self._count(delivery, -1)

    def _count(self, delivery: DueDelivery, sign: int) -> None:
        tenant = delivery.tenant_id
        self.open_connections += sign
        self._connections_of[tenant] += sign
        self._held_bytes += sign * delivery.bytes_to_read
        self._bytes_of[tenant] += sign * delivery.bytes_to_read
        if not self._connections_of[tenant]:
            del self._connections_of[tenant], self._bytes_of[tenant]
