"""Share a pool's connections fairly between tenants: no tenant stops or slows the requests of another.

A tenant may use only part of the connections. The next one goes to the waiting tenant that uses the fewest, and there
to the longest waiter.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ava.domain.limits.table import TENANT_CONNECTIONS
from ava.errors import ConnectionsBusy, TooMany


class _TurnWaiter:
    def __init__(self) -> None:
        self.has_turn = False
        self.woken = threading.Event()


class ConnectionGate:
    """The admission of callers to at most `size` connections."""

    def __init__(self, size: int, *, wait_seconds: float, tenant: Callable[[], str | None] = lambda: None) -> None:
        """`tenant` returns the tenant of the calling thread or greenlet; None for the process, which may use all
        connections.
        """
        self._size = size
        self._max_of_tenant = max(1, size * TENANT_CONNECTIONS.value // 100)
        self._wait_seconds = wait_seconds
        self._tenant = tenant
        self._lock = threading.Lock()
        self._free = size
        self._used: dict[str | None, int] = {}
        self._waiting: dict[str | None, deque[_TurnWaiter]] = {}

    @contextmanager
    def take(self, *, of_process: bool = False) -> Iterator[None]:
        """Reserve one connection during the block. `of_process`: for the process, not the caller's tenant.

        Raises `TooMany` if the tenant used its share for the whole wait, and `ConnectionsBusy` if all connections were
        in use.
        """
        tenant = None if of_process else self._tenant()
        with self._lock:
            waiter = None if self._is_free(tenant) else self._queue(tenant)
            if waiter is None:
                self._give(tenant)
        if waiter is not None:
            self._await_turn(tenant, waiter)
        try:
            yield
        finally:
            with self._lock:
                self._release(tenant)

    def _is_free(self, tenant: str | None) -> bool:
        max_used = self._size if tenant is None else self._max_of_tenant
        return self._free > 0 and self._used.get(tenant, 0) < max_used

    def _give(self, tenant: str | None) -> None:
        self._free -= 1
        self._used[tenant] = self._used.get(tenant, 0) + 1

    def _queue(self, tenant: str | None) -> _TurnWaiter:
        waiter = _TurnWaiter()
        self._waiting.setdefault(tenant, deque()).append(waiter)
        return waiter

    def _release(self, tenant: str | None) -> None:
        self._free += 1
        self._used[tenant] -= 1
        if not self._used[tenant]:
            del self._used[tenant]
        # Connections are always assigned immediately, so only this one can be free for a waiter.
        if ready := [each for each in self._waiting if self._is_free(each)]:
            next_tenant = min(ready, key=lambda each: self._used.get(each, 0))
            waiter = self._waiting[next_tenant].popleft()
            self._forget_if_empty(next_tenant)
            self._give(next_tenant)
            waiter.has_turn = True
            waiter.woken.set()

    def _await_turn(self, tenant: str | None, waiter: _TurnWaiter) -> None:
        try:
            waiter.woken.wait(self._wait_seconds)
        except BaseException:
            # The greenlet was killed.
            with self._lock:
                if waiter.has_turn:
                    self._release(tenant)
                else:
                    self._leave(tenant, waiter)
            raise
        with self._lock:
            if waiter.has_turn:
                return
            self._leave(tenant, waiter)
            is_limited = self._free > 0
        if is_limited:
            sentence = (
                "The tenant's other requests use all database connections that one tenant may have; try again shortly."
            )
            raise TooMany(TENANT_CONNECTIONS.message(sentence))
        raise ConnectionsBusy

    def _leave(self, tenant: str | None, waiter: _TurnWaiter) -> None:
        self._waiting[tenant].remove(waiter)
        self._forget_if_empty(tenant)

    def _forget_if_empty(self, tenant: str | None) -> None:
        if not self._waiting[tenant]:
            del self._waiting[tenant]
