"""Rate limits of hooks and of addresses without a caller: one rolling window each, counted by this process.

The counts do not use the broker, so that hooks receive during its outage.
"""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING

from ava.domain.limits.limit import Limit
from ava.domain.limits.table import RATE_LIMIT_ADDRESS, RATE_LIMIT_HOOK, RATE_LIMIT_RUNS
from ava.errors import TooMany
from ava.settings import Settings

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import SlidingWindowCounterRateLimiter

_ADDRESS = "This address has sent too many requests without a valid token or signature"


class HookGate:
    """Counts requests to hooks and heartbeats with flask-limiter's library."""

    def __init__(self, settings: Settings) -> None:
        self._rates = {
            RATE_LIMIT_HOOK.name: settings.rate_limit_hook,
            RATE_LIMIT_ADDRESS.name: settings.rate_limit_address,
            RATE_LIMIT_RUNS.name: settings.rate_limit_runs,
        }

    def admit_address(self, address: str) -> None:
        """Count an invalid request of an address. Raises `TooMany` beyond the limit."""
        self._admit(RATE_LIMIT_ADDRESS, address, _ADDRESS)

    def refuse_spent_address(self, address: str) -> None:
        """Raise `TooMany` if an address has sent too many invalid requests, without counting this one."""
        item = self._items[RATE_LIMIT_ADDRESS.name]
        if not self._limiter.test(item, address):
            raise self._too_many(RATE_LIMIT_ADDRESS, address, _ADDRESS)

    def admit_hook(self, hook_id: str) -> None:
        """Count a request to a hook. Raises `TooMany` beyond the limit."""
        self._admit(RATE_LIMIT_HOOK, hook_id, "This hook has received too many requests")

    def admit_heartbeat(self, caller: str) -> None:
        """Count a caller's heartbeat of its runs. Raises `TooMany` beyond the rate, if one is set."""
        if self._rates[RATE_LIMIT_RUNS.name]:
            self._admit(RATE_LIMIT_RUNS, caller, "The runs of this API key have sent too many heartbeats")

    def _admit(self, limit: Limit, key: str, sentence: str) -> None:
        if not self._limiter.hit(self._items[limit.name], key):
            raise self._too_many(limit, key, sentence)

    def _too_many(self, limit: Limit, key: str, sentence: str) -> TooMany:
        item = self._items[limit.name]
        seconds = max(1, round(self._limiter.get_window_stats(item, key).reset_time - time.time()))
        rate = self._rates[limit.name]
        return TooMany(limit.message(f"{sentence}; {rate} are accepted."), retry_after_seconds=seconds)

    @cached_property
    def _items(self) -> dict[str, RateLimitItem]:
        from limits import parse

        return {name: parse(f"{rate.replace('/', ' per ')}") for name, rate in self._rates.items() if rate}

    @cached_property
    def _limiter(self) -> SlidingWindowCounterRateLimiter:
        # Imported here, because it loads many modules and many installations have no hooks.
        from limits.storage import MemoryStorage
        from limits.strategies import SlidingWindowCounterRateLimiter

        return SlidingWindowCounterRateLimiter(MemoryStorage())
