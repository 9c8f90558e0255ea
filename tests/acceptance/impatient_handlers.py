"""A handler that needs no server while it runs, in processes whose timeouts are short.

They hold a result for 3 s instead of 5 minutes, and rescue an orphan after 1 s instead of 8.
"""

from __future__ import annotations

import os
import time
from typing import Any

from ava import Env, worker
from ava.node.parent import orphans
from ava.node.runs import run_writer

run_writer.HOLD_SECONDS = 3.0
orphans._PATIENCE_SECONDS = 1.0


@worker("t_steady")
def steady(input: dict[str, Any], env: Env) -> dict[str, int]:
    """Log a line every tenth of a second; end when a file exists, if `until` names one."""
    lines = round(input["seconds"] * 10)
    for number in range(lines):
        env.log.info("line %d", number)
        time.sleep(0.1)
    while "until" in input and not os.path.exists(input["until"]):
        time.sleep(0.02)
    return {"lines": lines}
