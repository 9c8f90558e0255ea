"""Messages of an untrusted broker: those that no process of ours can have published are dropped.

Each is counted by the reason, and logged at most once in ten seconds, because the broker may hold millions of them.

kombu decompresses a message before anything of it is checked, and a megabyte may become a gigabyte. Ours are not
compressed, so a process that consumes refuses all that are.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from kombu import compression

_log = logging.getLogger(__name__)

#: Minimum seconds between two log lines.
_LOG_SECONDS = 10.0
_refused_decoders = dict[str, object]()


class DroppedMessages:
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


def refuse_compressed() -> None:
    """Make kombu in this process unable to decompress messages."""
    _refused_decoders.update(compression._decoders)
    compression._decoders.clear()


def allow_compressed() -> None:
    """Undo `refuse_compressed`: handlers may use kombu themselves, and their process consumes no messages."""
    compression._decoders.update(_refused_decoders)
