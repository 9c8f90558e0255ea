"""Turns for requests of one API process: a tenant with many requests at once leaves the event loop to the others.

A tenant's first request is served at once. Until it is over, the tenant's others begin one by one whenever the event
loop has nothing else to do, tenants in turn. So no tenant fills the loop with work that all others wait for. As long as
the loop has time to spare, a request waits for one round of it. While one tenant alone sends requests nothing waits.

A loop that has nothing else to do may still wait for a processor, because PostgreSQL and the other processes have them
all. While it does, those that wait their turn begin half as often at most. What that frees goes to the first requests.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import gevent
from gevent.event import Event

from ava import processor_time

__all__ = ["RequestTurns"]

#: Seconds after which a request begins in any case: the loop may be busy for long, and the first one may be slow.
_MOST_WAIT_SECONDS = 1.0
#: Seconds after the last request of another tenant from which on a tenant is alone.
_ALONE_SECONDS = 10.0
#: Processors are short if the loop waits for one during this part of the time between two requests, or more. Then as
#: much time passes again before the next; after shorter waits it is less, in proportion.
_SHORTAGE = 0.25
#: Then so many times the time that a large body took passes before the tenant's next one, but so many seconds at most.
#: Nearly all of that is PostgreSQL's, which parses and compresses it: 40 ms of a processor for one of 1 MB.
_PAUSES_OF_LARGE, _MOST_PAUSE_SECONDS = 9, 1.0


class RequestTurns:
    """Begins the requests of tenants; for greenlets of one thread."""

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        #: The tenant of the latest request, and when it last was another one than before.
        self._latest: str | None = None
        self._changed_at = float("-inf")
        #: Those that wait, by tenant; the tenant whose turn is next comes first.
        self._waiting: dict[str, deque[Event]] = {}
        self._loop = gevent.get_hub().loop
        self._idle = self._loop.idle()
        self._shortage = _Shortage()
        self._timer = self._loop.timer(0.0)

    def begin(self, tenant_id: str) -> None:
        """Wait until a request of this tenant may begin; `end` must follow."""
        is_alone = self._is_alone(tenant_id)
        if (tenant_id in self._served or tenant_id in self._waiting) and not is_alone:
            self._wait(tenant_id)
        self._served[tenant_id] = self._served.get(tenant_id, 0) + 1

    def _is_alone(self, tenant_id: str) -> bool:
        if tenant_id != self._latest:
            if self._latest is not None:
                self._changed_at = time.monotonic()
            self._latest = tenant_id
        return self._has_one_tenant()

    def _has_one_tenant(self) -> bool:
        return time.monotonic() - self._changed_at > _ALONE_SECONDS

    def end(self, tenant_id: str) -> None:
        """End a request, or leave the loop to others for a long wait."""
        # In the next round of the loop: requests that never wait would else follow each other within one.
        self._loop.run_callback(self._end, tenant_id)

    def begin_large(self, release: Callable[[], None]) -> Callable[[], None]:
        """Begin a request with a large body. Returns what ends it: it calls `release` when the next may begin."""
        shortage = _Shortage()

        def end() -> None:
            if (pause := shortage.pause_seconds()) and not self._has_one_tenant():
                gevent.spawn_later(min(_PAUSES_OF_LARGE * pause, _MOST_PAUSE_SECONDS), release)
            else:
                release()

        return end

    def _end(self, tenant_id: str) -> None:
        self._served[tenant_id] -= 1
        if not self._served[tenant_id]:
            del self._served[tenant_id]
            if tenant_id in self._waiting and not self._shortage.pause_seconds():
                self._begin_next(tenant_id)

    def _wait(self, tenant_id: str) -> None:
        turn = Event()
        if not self._waiting:
            self._shortage.start()
        self._waiting.setdefault(tenant_id, deque()).append(turn)
        self._idle.start(self._begin_when_idle)
        try:
            turn.wait(_MOST_WAIT_SECONDS)
        finally:
            if not turn.is_set():
                self._waiting[tenant_id].remove(turn)
                self._forget_if_empty(tenant_id)

    def _begin_when_idle(self) -> None:
        """Begin one request, because the loop has nothing else to do."""
        if not self._waiting:
            self._idle.stop()
            return
        if pause := self._shortage.pause_seconds():
            self._idle.stop()
            if not self._timer.active:
                self._timer = self._loop.timer(pause)
                self._timer.start(self._idle.start, self._begin_when_idle)
            return
        tenant_id = next(iter(self._waiting))
        self._begin_next(tenant_id)
        if tenant_id in self._waiting:
            # The others come first next time.
            self._waiting[tenant_id] = self._waiting.pop(tenant_id)

    def _begin_next(self, tenant_id: str) -> None:
        self._shortage.start()
        self._waiting[tenant_id].popleft().set()
        self._forget_if_empty(tenant_id)

    def _forget_if_empty(self, tenant_id: str) -> None:
        if not self._waiting[tenant_id]:
            del self._waiting[tenant_id]


class _Shortage:
    """How long those that wait their turn go on waiting because processors are short."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Measure from now on."""
        self._began_at = time.monotonic()
        self._waited_before = processor_time.read()[1]
        self._over_at: float | None = None

    def pause_seconds(self) -> float:
        """Returns the seconds until the next may begin; they are decided at the first call."""
        now = time.monotonic()
        if self._over_at is None:
            waited = processor_time.read()[1] - self._waited_before
            self._over_at = now + min(now - self._began_at, waited / _SHORTAGE)
        return max(0.0, self._over_at - now)
