"""The gate of requests of one API process: a tenant with many requests at once leaves the event loop to the others.

A tenant's first request is served at once. Until it is over, the tenant's others begin one by one whenever the event
loop has nothing else to do, tenants in turn. So no tenant fills the loop with work that all others wait for. As long as
the loop has time to spare, a request waits for one round of it. While one tenant alone sends requests nothing waits.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial

import gevent
from gevent.event import Event

#: Seconds after which a request begins in any case: the loop may be busy for long, and the first one may be slow.
_MAX_WAIT_SECONDS = 1.0
#: Seconds after the last request of another tenant from which on a tenant is alone.
_ALONE_SECONDS = 10.0


class RequestGate:
    """Begins the requests of tenants; for greenlets of one thread."""

    def __init__(self) -> None:
        #: The requests under way, by tenant.
        self._served: dict[str, int] = {}
        #: The tenant of the latest request, and when it last was another one than before.
        self._latest: str | None = None
        self._changed_at = float("-inf")
        #: The requests that wait, by tenant; the tenant whose turn is next comes first.
        self._waiting: dict[str, deque[Event]] = {}
        self._loop = gevent.get_hub().loop
        self._idle = self._loop.idle()

    def begin(self, tenant_id: str) -> Callable[[], None]:
        """Wait until a request of this tenant may begin. Returns a function that ends it, or suspends a long wait."""
        if not self._is_alone(tenant_id) and (tenant_id in self._served or tenant_id in self._waiting):
            self._wait(tenant_id)
        self._served[tenant_id] = self._served.get(tenant_id, 0) + 1
        # In the next round of the loop: requests that never wait would else follow each other within one.
        return partial(self._loop.run_callback, self._end, tenant_id)

    def _is_alone(self, tenant_id: str) -> bool:
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
        """Begin one request, because the loop has nothing else to do."""
        if not self._waiting:
            self._idle.stop()
            return
        tenant_id = next(iter(self._waiting))
        self._begin_next(tenant_id)
        if tenant_id in self._waiting:
            # The others come first next time.
            self._waiting[tenant_id] = self._waiting.pop(tenant_id)

    def _begin_next(self, tenant_id: str) -> None:
        self._waiting[tenant_id].popleft().set()
        self._forget_if_empty(tenant_id)

    def _forget_if_empty(self, tenant_id: str) -> None:
        if not self._waiting[tenant_id]:
            del self._waiting[tenant_id]
