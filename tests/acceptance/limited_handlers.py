"""Handlers with a limit of running jobs, for tests of what passes a place on."""

from __future__ import annotations

import signal
import time
from typing import Any

from ava import worker
from tests.acceptance.witness import record


@worker("t_limited", max_running=2, max_running_per="tenant", cancel_grace_seconds=1)
def limited(input: dict[str, Any]) -> None:
    """Take some time; with `stubborn` no signal ends it."""
    record(input, "begin")
    if input.get("stubborn"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    time.sleep(input["seconds"])
    record(input, "done")
