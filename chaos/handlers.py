"""The load's handler: it records all its effects, so that a test knows afterwards what ran when."""

import itertools
import os
import time
from collections.abc import Callable
from typing import Any

from ava import Env, worker
from chaos.effects import Effect, append

_numbers = itertools.count(1)
_TICK_SECONDS = 0.02


@worker(
    "chaos_effect",
    name="Chaos: record effects",
    timeout_seconds=300,
    cancel_grace_seconds=5,
    queue=os.environ.get("CHAOS_QUEUE", "default"),
)
def chaos_effect(input: dict[str, Any], env: Env) -> dict[str, Any]:
    """Work for `seconds`, and record an effect at every step."""
    return _record_effects(input, env)


def _record_effects(input: dict[str, Any], env: Env, prepare: Callable[[], None] | None = None) -> dict[str, Any]:
    """Record the begin, call `prepare`, and work for `seconds`."""
    run = f"{os.getpid()}.{next(_numbers)}"

    def record(kind: str) -> None:
        path = os.environ["AVA_WORKER_CHAOS_EFFECT_FILE"]
        append(path, Effect(job_id=env.job["id"], run=run, kind=kind, at=time.monotonic()))

    record("begin")
    if prepare is not None:
        prepare()
    if input["seconds"] > 1:
        env.log.info("A long one")
    deadline = time.monotonic() + input["seconds"]
    while time.monotonic() < deadline:
        time.sleep(_TICK_SECONDS)
        record("tick")
    record("done")
    return {"run": run}


# A worker with short jobs, which record their start and end.
worker("chaos_brief", timeout_seconds=300)(chaos_effect)


@worker("chaos_tree", timeout_seconds=300, cancel_grace_seconds=5)
def chaos_tree(input: dict[str, Any], env: Env) -> dict[str, Any]:
    """Create detached children of these workers one by one, between the begin and the other effects."""

    def create_children() -> None:
        for number, worker_id in enumerate(input["workers"]):
            env.trigger(worker_id, {"seconds": 0.1}, key=f"child.{number}", detached=True)
            time.sleep(_TICK_SECONDS)

    return _record_effects(input, env, create_children)


# Additional workers, each with its own queue: `wkr_chaos_1` in the queue `chaos.1`, and so on.
for _number in range(1, int(os.environ.get("CHAOS_QUEUES", "0")) + 1):
    worker(f"chaos_{_number}", queue=f"chaos.{_number}", timeout_seconds=300)(chaos_effect)

# A worker with `max_running`.
if "CHAOS_LIMIT" in os.environ:
    worker("chaos_limited", max_running=int(os.environ["CHAOS_LIMIT"]), timeout_seconds=300)(chaos_effect)
