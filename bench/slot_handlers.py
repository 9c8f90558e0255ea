"""Concurrent handlers for `bench.slots`."""

from __future__ import annotations

import asyncio
from typing import Any

from ava import Env, worker


@worker("noop", concurrent=True)
async def noop(_input: dict[str, Any], env: Env) -> Any:
    """Do nothing but log two lines."""
    env.log.info("one")
    env.log.info("two")
    return {"ok": 1}


@worker("wait", concurrent=True)
async def wait(input: dict[str, Any]) -> Any:
    """Wait."""
    await asyncio.sleep(input["seconds"])
    return {"ok": 1}
