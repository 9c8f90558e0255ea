"""Handlers of two queues, for tests of how a node serves several."""

from __future__ import annotations

import time
from typing import Any

from ava import worker


@worker("a_busy", queue="a-busy")
def a_busy(input: Any) -> None:
    """A short job of the queue whose name is the first."""
    time.sleep(0.03)


@worker("b_quiet", queue="b-quiet")
def b_quiet(input: Any) -> None:
    """A short job of the other queue."""
    time.sleep(0.03)
