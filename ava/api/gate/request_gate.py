"""The request gate of an API process: it prevents a tenant with many concurrent requests from filling the event loop.

A tenant's first request starts immediately. Until it has ended, the gate starts the tenant's other requests one by one
while the event loop is idle, round-robin over the tenants. An idle loop delays a request by one iteration. If only one
tenant sends requests, they never wait.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial

import gevent
from gevent.event import Event

#: A request starts after this many seconds even if the loop is busy or the tenant's first request has not ended.
_MAX_WAIT_SECONDS = 1.0
#: A tenant is the only sender if no other tenant sent a request for this many seconds.
_ALONE_SECONDS = 10.0


class RequestGate:
    """Starts the requests of tenants; for greenlets of one thread."""

    def __init__(self) -> None:
        #: The requests under way, by tenant.
        self._served: dict[str, int] = {}
        #: The tenant of the latest request, and when this tenant last changed.
        self._latest: str | None = None
        self._changed_at = float("-inf")
        #: Waiting requests by tenant, in round-robin order.
        self._waiting: dict[str, deque[Event]] = {}
        self._loop = gevent.get_hub().loop
        self._idle = self._loop.idle()

    def begin(self, tenant_id: str) -> Callable[[], None]:
        """Wait until a request of this tenant may start. Returns the function that ends it."""
        if not self._is_only_tenant(tenant_id) and (tenant_id in self._served or tenant_id in self._waiting):
            self._wait(tenant_id)
        self._served[tenant_id] = self._served.get(tenant_id, 0) + 1
        # In the loop's next iteration. Otherwise requests that never wait would run one after another within this one.
        return partial(self._loop.run_callback, self._end, tenant_id)

    def _is_only_tenant(self, tenant_id: str) -> bool:
        if tenant_id != self._latest:
            if self._latest is not None:
                self._changed_at = time.monotonic()
            self._latest = tenant_id
        return time.monotonic() - self._changed_at > _ALONE_SECONDS

    def _end(self, tenant_id: str) -> None:
        self._served[tenant_id] -= 1
        if not self._served[tenant_id]:
            del self._served[tenant_id]
            if tenant_id in self._waiting:
                self._begin_next(tenant_id)

    def _wait(self, tenant_id: str) -> None:
        turn = Event()
        self._waiting.setdefault(tenant_id, deque()).append(turn)
        self._idle.start(self._begin_when_idle)
        try:
            turn.wait(_MAX_WAIT_SECONDS)
        finally:
            if not turn.is_set():
                self._waiting[tenant_id].remove(turn)
                self._forget_if_empty(tenant_id)

    def _begin_when_idle(self) -> None:
        """Start one waiting request; gevent calls this while the loop is idle."""
        if not self._waiting:
            self._idle.stop()
            return
        tenant_id = next(iter(self._waiting))
        self._begin_next(tenant_id)
        if tenant_id in self._waiting:
            # Round-robin: this tenant is now last.
            self._waiting[tenant_id] = self._waiting.pop(tenant_id)

    def _begin_next(self, tenant_id: str) -> None:
        self._waiting[tenant_id].popleft().set()
        self._forget_if_empty(tenant_id)

    def _forget_if_empty(self, tenant_id: str) -> None:
        if not self._waiting[tenant_id]:
            del self._waiting[tenant_id]
