"""Handlers for the tests of containments."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from ava import Env, worker


@worker("t_parent")
def parent(input: dict[str, Any], env: Env) -> str:
    """Wait for a file, then create a child."""
    while not os.path.exists(input["until"]):
        time.sleep(0.02)
    return env.trigger("wkr_t_echo", {"is": "late"}, key="child").id


@dataclass
class Gate:
    """An input that is read only once a file exists, so that the handler is entered long after the claim."""

    until: str

    def __post_init__(self) -> None:
        while not os.path.exists(self.until):
            time.sleep(0.02)


@worker("t_behind_gate")
def behind_gate(input: Gate) -> float:
    """Return the time at which it was entered, and stay until the next file exists."""
    entered_at = time.time()
    Gate(f"{input.until}.end")
    return entered_at
