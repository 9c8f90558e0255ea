"""Limits on the resources of one API process that each tenant uses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ava.domain.limits import table as limits
from ava.domain.limits.limit import Limit
from ava.errors import TooMany
from ava.settings import Settings

#: Max calls of one tenant that wait for a share; each of them occupies a connection.
_MAX_WAITING = 32
#: Retry-After, in seconds, of a refused share.
_RETRY_AFTER_SECONDS = 1
#: The key that counts all tenants together.
ALL_TENANTS = ""
#: Seconds that a large request waits for its tenant's other large requests to end.
_TURN_SECONDS = 10.0


class TenantShares:
    """Bounds each tenant's use of a resource in this process. A tenant waits only for its own shares."""

    def __init__(self, limit: Limit, maximum: int | None, *, wait_seconds: float = 0.0) -> None:
        """`maximum` is the limit's value, None for no limit; a call waits up to `wait_seconds` for its share."""
        self._limit = limit
        self._maximum = maximum
        self._wait_seconds = wait_seconds
        self._changed = threading.Condition()
        self._used: dict[str, int] = {}
        self._waiting: dict[str, int] = {}

    def used(self, tenant_id: str) -> int:
        return self._used.get(tenant_id, 0)

    def acquire(self, tenant_id: str, amount: int = 1) -> None:
        """Acquire a share, which `release` returns. A tenant without other shares may exceed the limit.

        Raises `TooMany` if the share is not free in time.
        """
        with self._changed:
            if not self._is_free(tenant_id, amount):
                self._wait(tenant_id, amount)
            self._used[tenant_id] = self.used(tenant_id) + amount

    def add(self, tenant_id: str, amount: int) -> None:
        """Acquire a share that can no longer be refused, because the call has already changed something."""
        with self._changed:
            self._used[tenant_id] = self.used(tenant_id) + amount

    def release(self, tenant_id: str, amount: int = 1) -> None:
        with self._changed:
            if (left := self.used(tenant_id) - amount) > 0:
                self._used[tenant_id] = left
            else:
                self._used.pop(tenant_id, None)
            if self._waiting:
                self._changed.notify_all()

    @contextmanager
    def take(self, tenant_id: str, amount: int = 1) -> Iterator[None]:
        """Hold a share during the block. Raises `TooMany` if it is not free in time."""
        self.acquire(tenant_id, amount)
        try:
            yield
        finally:
            self.release(tenant_id, amount)

    def _is_free(self, tenant_id: str, amount: int) -> bool:
        used = self.used(tenant_id)
        return self._maximum is None or not used or used + amount <= self._maximum

    def _wait(self, tenant_id: str, amount: int) -> None:
        waiting = self._waiting.get(tenant_id, 0)
        if not self._wait_seconds or waiting >= _MAX_WAITING:
            raise self._refusal()
        self._waiting[tenant_id] = waiting + 1
        deadline = time.monotonic() + self._wait_seconds
        try:
            while not self._is_free(tenant_id, amount):
                if (left := deadline - time.monotonic()) <= 0 or not self._changed.wait(left):
                    raise self._refusal()
        finally:
            if self._waiting[tenant_id] == 1:
                del self._waiting[tenant_id]
            else:
                self._waiting[tenant_id] -= 1

    def _refusal(self) -> TooMany:
        unit = self._limit.unit
        held = f"1 {unit.removesuffix('s')}" if self._maximum == 1 else f"{self._maximum:,} {unit}"
        sentence = f"This API process already handles {held} at the same time; try again shortly."
        return TooMany(self._limit.message(sentence), retry_after_seconds=_RETRY_AFTER_SECONDS)


@dataclass(frozen=True, kw_only=True)
class Shares:
    """The resources that each tenant uses in this process."""

    #: Bytes of large bodies during their requests.
    large_bodies: TenantShares
    #: Requests with a large body that is being checked, parsed or stored: max one.
    large_requests: TenantShares
    #: Bodies that clients have not sent yet.
    pending_bodies: TenantShares
    #: Bytes of large responses that are being sent.
    responses: TenantShares
    streams: TenantShares
    waits: TenantShares
    claims: TenantShares
    #: Streams and waits of all tenants together, under the key `ALL_TENANTS`.
    watchers: TenantShares


def make_shares(settings: Settings) -> Shares:
    return Shares(
        large_bodies=TenantShares(
            limits.LARGE_BODY_BYTES, limits.LARGE_BODY_BYTES.of(settings), wait_seconds=_TURN_SECONDS
        ),
        large_requests=TenantShares(
            limits.LARGE_REQUESTS, limits.LARGE_REQUESTS.of(settings), wait_seconds=_TURN_SECONDS
        ),
        pending_bodies=TenantShares(limits.TENANT_PENDING_BODIES, limits.TENANT_PENDING_BODIES.of(settings)),
        responses=TenantShares(limits.RESPONSES_IN_FLIGHT_BYTES, limits.RESPONSES_IN_FLIGHT_BYTES.of(settings)),
        streams=TenantShares(limits.TENANT_STREAMS, limits.TENANT_STREAMS.of(settings)),
        claims=TenantShares(limits.WAITING_CLAIMS, limits.WAITING_CLAIMS.of(settings)),
        waits=TenantShares(limits.TENANT_WAITS, limits.TENANT_WAITS.of(settings)),
        watchers=TenantShares(limits.WATCHERS, limits.WATCHERS.of(settings)),
    )
