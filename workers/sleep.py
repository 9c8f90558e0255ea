"""Sleep and report progress: for demonstrations, and to try cancels, progress and time limits."""

from __future__ import annotations

import time
from typing import Any

from ava import Env, worker
from workers.inputs import Input, number, refuse_unknown, whole_number

_LONGEST_SECONDS = 3_500
_MAX_STEPS = 1_000


@worker(
    "sleep",
    name="Sleep",
    description="Sleeps for input.seconds, in input.steps steps (10) that show as progress.",
    timeout_seconds=3_600,
    input_schema={
        "type": "object",
        "properties": {
            "seconds": {
                "type": "number",
                "minimum": 0,
                "maximum": _LONGEST_SECONDS,
                "description": "How long to sleep, in seconds.",
            },
            "steps": {"type": "integer", "minimum": 1, "maximum": _MAX_STEPS, "default": 10},
        },
        "required": ["seconds"],
        "additionalProperties": False,
    },
)
def sleep(input: Input, env: Env) -> dict[str, Any]:
    """Sleep. Return the seconds slept. A cancel is raised inside `time.sleep`, so it ends the sleep immediately."""
    refuse_unknown(input, "seconds", "steps")
    seconds = number(input, "seconds", least=0, most=_LONGEST_SECONDS)
    steps = whole_number(input, "steps", least=1, most=_MAX_STEPS, default=10)
    start = time.monotonic()
    env.log.info("Sleeping for %g s in %d steps", seconds, steps)
    for step in range(1, steps + 1):
        # Each step ends at a fixed offset from the start, so that the overhead does not accumulate.
        time.sleep(max(0.0, start + seconds * step / steps - time.monotonic()))
        env.progress(step / steps, f"step {step} of {steps}")
    return {"slept_seconds": round(time.monotonic() - start, 3), "steps": steps}
