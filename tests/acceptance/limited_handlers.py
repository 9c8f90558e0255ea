"""A handler with a limit of running jobs."""

from __future__ import annotations

import time
from typing import Any

from ava import worker
from tests.acceptance.witness import record


@worker("t_limited", max_running=2, max_running_per="tenant")
def limited(input: dict[str, Any]) -> None:
    """Take some time."""
    record(input, "begin")
    time.sleep(input["seconds"])
    record(input, "done")
