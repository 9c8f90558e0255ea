"""Pauses in long computations, so that an API process's event loop can serve other requests."""

from __future__ import annotations

import time

#: Seconds of work between two pauses.
_WORK_SECONDS = 0.002
#: Seconds of a pause. Not 0: gevent's `sleep(0)` runs other greenlets that are ready, but neither timers nor I/O.
_PAUSE_SECONDS = 1e-6


class Pauses:
    """Lets other greenlets or threads run after every few milliseconds of work."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def after_work(self) -> None:
        """Pause if the work since the last pause took longer than `_WORK_SECONDS`."""
        if time.monotonic() - self._since > _WORK_SECONDS:
            time.sleep(_PAUSE_SECONDS)
            self._since = time.monotonic()
