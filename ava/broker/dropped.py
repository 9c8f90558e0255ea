"""Drop messages that this service cannot have published. The broker is not trusted.

Each is counted by reason, and logged at most once in 10 s, because the broker may hold millions of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)

#: Minimum seconds between two log lines.
_LOG_SECONDS = 10.0


class DroppedMessages:
    """The dropped messages of this process."""

    def __init__(self) -> None:
        #: Called with the reason of each message, for the metrics.
        self.on_drop: Callable[[str], object] | None = None
        self._unlogged = 0
        self._log_at = 0.0
        self._reasons: set[str] = set()

    def drop(self, reason: str) -> None:
        """Count one message. `reason`: a reason listed in docs/explain/security.md."""
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
        """Return the reasons since the last call. Thread-safe."""
        reasons, self._reasons = self._reasons, set()
        return sorted(reasons)


DROPPED = DroppedMessages()
