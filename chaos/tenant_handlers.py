"""The handlers of `chaos.tenants`."""

from __future__ import annotations

import time
from typing import Any

from ava import worker


@worker("brief", timeout_seconds=3600, cancel_grace_seconds=1)
def brief(input: dict[str, Any]) -> dict[str, Any]:
    """Sleep for `seconds`, and return the input."""
    time.sleep(input["seconds"])
    return input


@worker("wordy", timeout_seconds=3600, cancel_grace_seconds=1)
def wordy(input: dict[str, Any]) -> None:
    """Log so many lines of 1 KB."""
    for _ in range(input["lines"]):
        print("x" * 1_000)
