"""This process's cache of tenants' subscriptions; a version tells whether they are current."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from ava.domain.events.subscription import Subscription, SubscriptionIndex
from ava.store.engine.database import Connection
from ava.store.events import subscriptions

#: Max cached subscriptions of all tenants, and max tenants.
_MAX_KEPT = 50_000
_MAX_TENANTS = 5_000


class KnownSubscriptions:
    """Find the subscriptions to an event type. They are read once per version."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[int, int, SubscriptionIndex]] = OrderedDict()

    def candidates(
        self, connection: Connection, *, tenant_id: str, version: int | None, type_: str
    ) -> Sequence[Subscription]:
        """Return the subscriptions that match the type, oldest first.

        `version`: the version of the tenant's subscriptions in this transaction; None if it never had any.
        """
        return [] if version is None else self._index(connection, tenant_id, version).candidates(type_)

    def _index(self, connection: Connection, tenant_id: str, version: int) -> SubscriptionIndex:
        with self._lock:
            known = self._known.get(tenant_id)
            if known is not None and known[0] == version:
                self._known.move_to_end(tenant_id)
                return known[2]
        found = subscriptions.enabled(connection, tenant_id=tenant_id, version=version)
        index = SubscriptionIndex(found)
        with self._lock:
            self._known[tenant_id] = (version, len(found), index)
            self._known.move_to_end(tenant_id)
            while len(self._known) > 1 and (
                len(self._known) > _MAX_TENANTS or sum(size for _, size, _ in self._known.values()) > _MAX_KEPT
            ):
                self._known.popitem(last=False)
        return index
