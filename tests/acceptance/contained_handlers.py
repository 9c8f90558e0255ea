"""Handlers for the tests of containments."""

from __future__ import annotations

import os
import time
from typing import Any

from ava import Env, worker


@worker("t_parent")
def parent(input: dict[str, Any], env: Env) -> str:
    """Wait for a file, then create a child."""
    while not os.path.exists(input["until"]):
        time.sleep(0.02)
    return env.trigger("wkr_t_echo", {"is": "late"}, key="child").id
