"""Concurrent handlers for the tests of slots."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
import warnings
from contextvars import ContextVar
from typing import Any

from ava import Env, worker

_log = logging.getLogger(__name__)
_tag: ContextVar[str] = ContextVar("tag")


@worker("slot_sleep", concurrent=True, cancel_grace_seconds=2)
async def slot_sleep(input: dict[str, Any]) -> dict[str, Any]:
    """Wait, and say in which process."""
    await asyncio.sleep(float(input.get("seconds", 0)))
    return {"pid": os.getpid(), **input}


@worker("slot_speak", concurrent=True)
async def slot_speak(input: dict[str, Any], env: Env) -> str:
    """Say its tag in every way, while others say theirs."""
    tag = str(input["tag"])
    _tag.set(tag)

    async def in_task() -> None:
        await asyncio.sleep(0.01)
        print(f"task {tag}")  # noqa: T201 - what the test looks for

    def in_thread() -> None:
        time.sleep(0.01)
        print(f"thread {_tag.get()}")  # noqa: T201
        _log.warning("thread's log %s", tag)

    for number in range(5):
        print(f"print {tag} ", end="")  # noqa: T201
        await asyncio.sleep(0.01)
        print(number)  # noqa: T201
        env.progress(number / 5, tag)
    env.log.info("env %s %s", tag, env.secrets.get("TOKEN", ""))
    _log.info("log %s", tag)
    print(f"error {tag}", file=sys.stderr)  # noqa: T201
    warnings.warn(f"warning {tag}", stacklevel=1)
    await asyncio.gather(in_task(), asyncio.to_thread(in_thread))
    return _tag.get()


@worker("slot_deaf", concurrent=True, cancel_grace_seconds=0.5, timeout_seconds=60)
async def slot_deaf(input: dict[str, Any]) -> None:
    """Swallow every cancel."""
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("swallowed")  # noqa: T201


@worker("slot_late", concurrent=True, timeout_seconds=0.5)
async def slot_late(input: dict[str, Any]) -> None:
    """Take longer than it may."""
    await asyncio.sleep(60)


@worker("slot_block", concurrent=True)
async def slot_block(input: dict[str, Any]) -> str:
    """Block the event loop."""
    await asyncio.sleep(0.1)
    _sit(float(input["seconds"]))
    return "done"


def _sit(seconds: float) -> None:
    time.sleep(seconds)


@worker("slot_fail", concurrent=True, max_retries=1)
async def slot_fail(input: dict[str, Any]) -> None:
    """Fail."""
    raise ValueError("it failed")


@worker("slot_wait", concurrent=True)
async def slot_wait(input: dict[str, Any], env: Env) -> list[Any]:
    """Wait for children outside of the process."""
    first = await env.trigger("slot_sleep", {"number": 1}, key="first")
    second = await env.trigger("slot_sleep", {"number": 2}, key="second")
    await env.sleep(1)
    return [output["number"] for output in await env.wait(first, second)]


@worker("slot_beside")
def slot_beside(input: dict[str, Any]) -> dict[str, Any]:
    """Run in a process of its own."""
    return {"pid": os.getpid()}


@worker("slot_hold", concurrent=True)
async def slot_hold(input: dict[str, Any]) -> int:
    """Keep memory for good, in MiB."""
    _kept.append(bytearray(int(input["mb"]) * 1024 * 1024))
    await asyncio.sleep(1)
    return os.getpid()


_kept: list[bytearray] = []


@worker("slot_exit", concurrent=True)
async def slot_exit(input: dict[str, Any]) -> None:
    """Leave the process, as far as a task can."""
    asyncio.get_running_loop().create_task(_leave())
    await asyncio.sleep(0.2)


async def _leave() -> None:
    sys.exit(3)
