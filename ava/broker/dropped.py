"""Messages that are dropped because no process of ours can have published them. The broker is not trusted.

Each is counted by the reason, and logged at most once in ten seconds, because the broker may hold millions of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)

#: Seconds between two log lines.
_LOG_SECONDS = 10.0


class DroppedMessages:
    """Counts what this process drops."""

    def __init__(self) -> None:
        #: Called with the reason of each, for the metrics.
        self.on_drop: Callable[[str], object] | None = None
        self._unlogged = 0
        self._log_at = 0.0
        self._reasons: set[str] = set()

    def drop(self, reason: str) -> None:
        """Count one message. `reason`: one of those in docs/explain/security.md."""
        if self.on_drop is not None:
            self.on_drop(reason)
        self._reasons.add(reason)
        self._unlogged += 1
        if time.monotonic() >= self._log_at:
            _log.warning(
                "Broker: %d messages dropped that no process of this service has published; the last one: %s",
                self._unlogged,
                reason,
                extra={"dropped": self._unlogged, "reason": reason},
            )
            self._unlogged, self._log_at = 0, time.monotonic() + _LOG_SECONDS

    def take_reasons(self) -> list[str]:
        """Returns the reasons since the last call. Any thread may ask."""
        reasons, self._reasons = self._reasons, set()
        return sorted(reasons)


#: Those of this process.
DROPPED = DroppedMessages()
