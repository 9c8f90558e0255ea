"""The load's handler: it leaves a trace of everything it does, so that what ran when can be told afterwards."""

import itertools
import os
import time
from typing import Any

from ava import Env, worker
from chaos.effects import Effect, append

_numbers = itertools.count(1)
_TICK_SECONDS = 0.02


@worker("chaos_effect", name="Chaos: leave a trace", timeout_seconds=300, cancel_grace_seconds=5)
def chaos_effect(input: dict[str, Any], env: Env) -> dict[str, Any]:
    """Work for `seconds`, and write an effect at every step of it."""
    attempt = f"{os.getpid()}.{next(_numbers)}"

    def leave(kind: str) -> None:
        append(env["FILE"], Effect(job_id=env.job["id"], attempt=attempt, kind=kind, at=time.monotonic()))

    leave("begin")
    if input["seconds"] > 1:
        env.log.info("A long one")
    deadline = time.monotonic() + input["seconds"]
    while time.monotonic() < deadline:
        time.sleep(_TICK_SECONDS)
        leave("tick")
    leave("done")
    return {"attempt": attempt}
