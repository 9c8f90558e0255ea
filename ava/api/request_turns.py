"""Turns for requests of one API process: a tenant with many requests at once leaves the event loop to the others.

A tenant's first request is served at once. Until it is over, the tenant's others begin one by one whenever the event
loop has nothing else to do, tenants in turn. So no tenant fills the loop with work that all others wait for. As long as
the loop has time to spare, a request waits for one round of it. While one tenant alone sends requests nothing waits.

A loop that has nothing else to do may still wait for a processor, because PostgreSQL and the other processes have them
all. While it does, the tenants whose requests have taken the most time lately pause after each of them, and requests of
the others go first: during their short statements this process leaves its processor to PostgreSQL.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

import gevent
from gevent.event import Event

from ava.processor_time import ProcessorTime

__all__ = ["RequestTurns"]

#: Seconds after which a request begins in any case: the loop may be busy for long, and the first one may be slow.
_MAX_WAIT_SECONDS = 1.0
#: Seconds after the last request of another tenant from which on a tenant is alone.
_ALONE_SECONDS = 10.0
#: Processors are short if the loop waits for one during this part of the time that a request takes, or more. If it is
#: less, they are short for a part of that time, in proportion.
_SHORTAGE = 0.25
#: So many times the time during which processors were short passes before the tenant's next request, and before its
#: next large body, whose time is nearly all PostgreSQL's, which parses and compresses it: 40 ms of a processor for one
#: of 1 MB. But so many seconds at most.
_PAUSES, _PAUSES_OF_LARGE, _MAX_PAUSE_SECONDS = 4, 9, 1.0
#: Requests that go first may take this many of the latest seconds, about a fifth of them.
_MAX_FIRST_SECONDS = 0.3
#: A tenant pauses if its requests have taken this part of the time of the tenant whose requests took the most.
_HEAVY = 0.5
#: So many seconds after it, each moment of a request counts half.
_HALF_LIFE_SECONDS = 1.0
#: A tenant whose requests have taken less is as one that has sent none.
_FORGOTTEN_SECONDS = 0.001


class RequestTurns:
    """Begins the requests of tenants; for greenlets of one thread."""

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        #: The tenant of the latest request, and when it last was another one than before.
        self._latest: str | None = None
        self._changed_at = float("-inf")
        #: Those that wait, by tenant; the tenant whose turn is next comes first.
        self._waiting: dict[str, deque[Event]] = {}
        self._pauses = _Pauses()
        #: The greenlets whose requests go first, and the time that such requests took.
        self._first: set[object] = set()
        self._first_use = _RecentUse()
        self._processor_time = ProcessorTime()
        self._loop = gevent.get_hub().loop
        self._idle = self._loop.idle()
        self._timer = self._loop.timer(0.0)

    def begin(self, tenant_id: str) -> Callable[[], None]:
        """Wait until a request of this tenant may begin. Returns what ends it, or leaves the loop for a long wait."""
        is_alone = self._is_alone(tenant_id)
        if not is_alone and (
            tenant_id in self._served or tenant_id in self._waiting or self._pauses.seconds_left(tenant_id)
        ):
            self._wait(tenant_id)
        self._served[tenant_id] = self._served.get(tenant_id, 0) + 1
        if is_alone:
            return lambda: self._loop.run_callback(self._end, tenant_id, None)
        spell, current = _Spell(self._processor_time), gevent.getcurrent()
        self._pauses.begin(tenant_id)
        if self._pauses.is_light(tenant_id) and self._first_use.seconds() < _MAX_FIRST_SECONDS:
            self._first.add(current)
            self._first_use.begin()

        def end() -> None:
            if current in self._first:
                self._first.remove(current)
                self._first_use.end()
            # In the next round of the loop: requests that never wait would else follow each other within one.
            self._loop.run_callback(self._end, tenant_id, spell)

        return end

    def goes_first(self) -> bool:
        """Returns True if the request of the present greenlet goes first."""
        return gevent.getcurrent() in self._first

    def _is_alone(self, tenant_id: str) -> bool:
        if tenant_id != self._latest:
            if self._latest is not None:
                self._changed_at = time.monotonic()
            self._latest = tenant_id
        return self._has_one_tenant()

    def _has_one_tenant(self) -> bool:
        return time.monotonic() - self._changed_at > _ALONE_SECONDS

    def begin_large(self, release: Callable[[], None]) -> Callable[[], None]:
        """Begin a request with a large body. Returns what ends it: it calls `release` when the next may begin."""
        spell = _Spell(self._processor_time)

        def end() -> None:
            if (short := spell.short_seconds()) and not self._has_one_tenant():
                gevent.spawn_later(min(_PAUSES_OF_LARGE * short, _MAX_PAUSE_SECONDS), release)
            else:
                release()

        return end

    def _end(self, tenant_id: str, spell: _Spell | None) -> None:
        if spell is not None:
            self._pauses.end(tenant_id, spell)
        self._served[tenant_id] -= 1
        if not self._served[tenant_id]:
            del self._served[tenant_id]
            if tenant_id in self._waiting and not self._pauses.seconds_left(tenant_id):
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
        pauses = {tenant_id: self._pauses.seconds_left(tenant_id) for tenant_id in self._waiting}
        tenant_id = next((each for each, seconds in pauses.items() if not seconds), None)
        if tenant_id is None:
            self._idle.stop()
            self._timer.stop()
            if pauses:
                self._timer = self._loop.timer(min(pauses.values()))
                self._timer.start(self._idle.start, self._begin_when_idle)
            return
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


class _Spell:
    """The time that a request takes, and for which part of it processors were short."""

    def __init__(self, processor_time: ProcessorTime) -> None:
        self._began_at = time.monotonic()
        self._processor_time = processor_time
        self._waited_before = processor_time.read()[1]

    def seconds(self) -> float:
        """Returns the seconds until now."""
        return time.monotonic() - self._began_at

    def short_seconds(self) -> float:
        """Returns for how many of these seconds processors were short."""
        waited = self._processor_time.read()[1] - self._waited_before
        return min(self.seconds(), waited / _SHORTAGE)


class _RecentUse:
    """The seconds that the requests of one tenant took lately, up to now, and when its next one may begin.

    A request that is under way counts from its beginning. Otherwise a tenant whose requests take long would be a light
    one until the first of them ends.
    """

    def __init__(self) -> None:
        self._seconds, self._at = 0.0, time.monotonic()
        self._under_way = 0
        self.resumes_at = float("-inf")

    @property
    def is_forgotten(self) -> bool:
        """Returns True if nothing is under way, and nothing that is over counts any more."""
        return not self._under_way and self.seconds() < _FORGOTTEN_SECONDS

    def begin(self) -> None:
        """Count a request from now on."""
        self._advance()
        self._under_way += 1

    def end(self) -> None:
        """Count a request up to now."""
        self._advance()
        self._under_way -= 1

    def seconds(self) -> float:
        """Returns what of them still counts."""
        self._advance()
        return self._seconds

    def _advance(self) -> None:
        now = time.monotonic()
        left = math.pow(0.5, (now - self._at) / _HALF_LIFE_SECONDS)
        # The integral of that over the time since then, for each request under way.
        self._seconds = self._seconds * left + self._under_way * (1 - left) * _HALF_LIFE_SECONDS / math.log(2)
        self._at = now


class _Pauses:
    """Which tenants pause while processors are short: those whose requests have taken the most time lately."""

    def __init__(self) -> None:
        self._uses: dict[str, _RecentUse] = {}
        self._heaviest = _RecentUse()
        self._paused_at = float("-inf")
        self._pruned_at = time.monotonic()

    def seconds_left(self, tenant_id: str) -> float:
        """Returns the seconds until a tenant's next request may begin."""
        use = self._uses.get(tenant_id)
        return 0.0 if use is None else max(0.0, use.resumes_at - time.monotonic())

    def is_light(self, tenant_id: str) -> bool:
        """Returns True if others have had to pause lately, and this tenant's requests have taken less time."""
        if time.monotonic() - self._paused_at > _HALF_LIFE_SECONDS:
            return False
        use = self._uses.get(tenant_id)
        return use is None or use.seconds() < _HEAVY * self._heaviest.seconds()

    def begin(self, tenant_id: str) -> None:
        """Count a request from now on."""
        use = self._uses.setdefault(tenant_id, _RecentUse())
        use.begin()
        self._compare(use)

    def end(self, tenant_id: str, spell: _Spell) -> None:
        """Count a request that is over."""
        use = self._uses[tenant_id]
        use.end()
        self._compare(use)
        if use.seconds() >= _HEAVY * self._heaviest.seconds():
            pause = min(_PAUSES * spell.short_seconds(), _MAX_PAUSE_SECONDS)
            use.resumes_at = max(use.resumes_at, time.monotonic() + pause)
            if pause:
                self._paused_at = time.monotonic()
        self._prune()

    def _compare(self, use: _RecentUse) -> None:
        if use.seconds() > self._heaviest.seconds():
            self._heaviest = use

    def _prune(self) -> None:
        """Forget the tenants whose last request was long ago."""
        now = time.monotonic()
        if now - self._pruned_at > _ALONE_SECONDS:
            self._pruned_at = now
            self._uses = {key: use for key, use in self._uses.items() if not use.is_forgotten}
