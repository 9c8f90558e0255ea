"""The handler of `chaos.tenants`."""

from __future__ import annotations

import time
from typing import Any

from ava import worker


@worker("brief", timeout_seconds=3600, cancel_grace_seconds=1)
def brief(input: dict[str, Any]) -> dict[str, Any]:
    """Sleep for `seconds`, and return the input."""
    time.sleep(input["seconds"])
    return input
