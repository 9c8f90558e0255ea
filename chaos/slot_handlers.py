"""The concurrent handlers of the load: they record all their effects."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from typing import Any

from ava import Env, worker
from chaos.effects import Effect, append

_numbers = itertools.count(1)
#: Seconds between two records of a run; hundreds of runs record concurrently.
_TICK_SECONDS = 0.5


@worker("chaos_slot", name="Chaos: record effects in a slot", concurrent=True, timeout_seconds=300)
async def chaos_slot(input: dict[str, Any], env: Env) -> dict[str, Any]:
    """Wait for `seconds`, and record an effect periodically."""
    run = f"{os.getpid()}.{next(_numbers)}"

    def record(kind: str) -> None:
        path = os.environ["AVA_WORKER_CHAOS_EFFECT_FILE"]
        append(path, Effect(job_id=env.job["id"], run=run, kind=kind, at=time.monotonic()))

    record("begin")
    deadline = time.monotonic() + input["seconds"]
    while time.monotonic() < deadline:
        await asyncio.sleep(_TICK_SECONDS)
        record("tick")
    record("done")
    return {"run": run}
