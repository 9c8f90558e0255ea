"""How often one hook, and one address, may call: a rolling window for each, in this process alone.

Neither asks the broker, so that hooks receive while it is away.
"""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING

from ava.domain.limits.table import RATE_LIMIT_ADDRESS, RATE_LIMIT_HOOK, Limit
from ava.errors import TooMany
from ava.settings import Settings

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import SlidingWindowCounterRateLimiter

__all__ = ["HookGate"]


class HookGate:
    """Counts requests to hooks, with the library that flask-limiter counts with."""

    def __init__(self, settings: Settings) -> None:
        self._rates = {
            RATE_LIMIT_HOOK.name: settings.rate_limit_hook,
            RATE_LIMIT_ADDRESS.name: settings.rate_limit_address,
        }

    def admit_address(self, address: str) -> None:
        """Count a request of an address. Raises `TooMany` if it has called too often."""
        self._admit(RATE_LIMIT_ADDRESS, address, "This address has sent too many requests to hooks")

    def admit_hook(self, hook_id: str) -> None:
        """Count a request to a hook. Raises `TooMany` if it was called too often."""
        self._admit(RATE_LIMIT_HOOK, hook_id, "This hook has received too many requests")

    def _admit(self, limit: Limit, key: str, sentence: str) -> None:
        item = self._items[limit.name]
        if self._limiter.hit(item, key):
            return
        seconds = max(1, round(self._limiter.get_window_stats(item, key).reset_time - time.time()))
        rate = self._rates[limit.name]
        raise TooMany(limit.message(f"{sentence}; {rate} are accepted."), retry_after_seconds=seconds)

    @cached_property
    def _items(self) -> dict[str, RateLimitItem]:
        from limits import parse

        return {name: parse(f"{rate.replace('/', ' per ')}") for name, rate in self._rates.items()}

    @cached_property
    def _limiter(self) -> SlidingWindowCounterRateLimiter:
        # Imported here, because it loads many modules, and many installations have no hooks.
        from limits.storage import MemoryStorage
        from limits.strategies import SlidingWindowCounterRateLimiter

        return SlidingWindowCounterRateLimiter(MemoryStorage())
