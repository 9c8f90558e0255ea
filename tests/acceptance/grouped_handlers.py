"""A handler that is mostly brief, in processes whose groups have six seconds instead of 20 ms, on a busy machine.

Without the time a group of a busy machine would end after its first run.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ava import Env, worker
from ava.domain.jobs import run_groups
from ava.node.child import handler_times
from tests.acceptance.witness import record

#: Seconds of a group here.
SECONDS = 6.0
run_groups.SECONDS = run_groups.LONG_SECONDS = SECONDS
# Likewise, a more urgent job is looked for before each run, and for a minute.
run_groups.POLL_SECONDS, run_groups.URGENT_SECONDS = 0.0, 60.0
# Likewise, what is brief there, so that runs share their claim and the statement of their ends.
run_groups.SHOWN_SECONDS = run_groups.END_SECONDS = SECONDS
handler_times.BRIEF_SECONDS = 0.5


@worker("t_brief", cancel_grace_seconds=5)
def brief(input: dict[str, Any], env: Env) -> dict[str, Any]:
    """Record the job's number. Wait as long as the file of `until` is missing, and fail if that is asked."""
    record(input, str(input["number"]))
    while "until" in input and not Path(input["until"]).exists():
        time.sleep(0.01)
    if input.get("fails"):
        raise ValueError("on purpose")
    env.log.info("done")
    return {"number": input["number"]}


# The same for nodes that are killed with their processes.
worker("t_killed", queue="killed")(brief)
worker("t_killed_once", queue="killed_once", on_worker_lost="fail")(brief)
