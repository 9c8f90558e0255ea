"""Concurrent handlers for the tests of slots."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import os
import sys
import time
import warnings
from contextvars import ContextVar
from typing import Any

from celery import signals
from opentelemetry import trace

from ava import Env, worker

_log = logging.getLogger(__name__)
_tag: ContextVar[str] = ContextVar("tag")


@worker("slot_sleep", concurrent=True, cancel_grace_seconds=2)
async def slot_sleep(input: dict[str, Any]) -> dict[str, Any]:
    """Wait, and say in which process and in which event loop."""
    await asyncio.sleep(float(input.get("seconds", 0)))
    return {"pid": os.getpid(), "loop": type(asyncio.get_running_loop()).__module__, **input}


@worker("slot_once", concurrent=True, on_worker_lost="fail")
async def slot_once(input: dict[str, Any]) -> None:
    """Wait, and never run again after a loss."""
    await asyncio.sleep(60)


@worker("slot_speak", concurrent=True)
async def slot_speak(input: dict[str, Any], env: Env) -> dict[str, Any]:
    """Say its tag in every way, while others say theirs. Returns it, and the traces that its parts belong to."""
    tag = str(input["tag"])
    _tag.set(tag)

    async def in_task() -> str:
        await asyncio.sleep(0.01)
        # In one write each, because `print` writes the line feed separately, and both print at once.
        print(f"task {tag}\n", end="")  # noqa: T201 - what the test looks for
        return _trace_id()

    def in_thread() -> str:
        time.sleep(0.01)
        print(f"thread {_tag.get()}\n", end="")  # noqa: T201
        _log.warning("thread's log %s", tag)
        return _trace_id()

    for number in range(5):
        print(f"print {tag} ", end="")  # noqa: T201
        await asyncio.sleep(0.01)
        print(number)  # noqa: T201
        env.progress(number / 5, tag)
    env.log.info("env %s %s", tag, env.secrets.get("TOKEN", ""))
    _log.info("log %s", tag)
    print(f"error {tag}", file=sys.stderr)  # noqa: T201
    warnings.warn(f"warning {tag}", stacklevel=1)
    traces = await asyncio.gather(in_task(), asyncio.to_thread(in_thread))
    return {"tag": _tag.get(), "traces": [*traces, _trace_id(), str(env.traceparent).split("-")[1]]}


def _trace_id() -> str:
    return format(trace.get_current_span().get_span_context().trace_id, "032x")


@worker("slot_leak", concurrent=True, max_retries=0)
async def slot_leak(input: dict[str, Any], env: Env) -> dict[str, str]:
    """Leak its secret in many ways, while others leak theirs. Returns its digest, by which the test knows it."""
    secret = env.secrets["TOKEN"]
    for _ in range(5):
        print(secret[:7], end="")  # noqa: T201
        await asyncio.sleep(0.01)
        print(secret[7:])  # noqa: T201
        env.progress(0.5, f"with {secret}")
    print(base64.b64encode(f"user:{secret}".encode()).decode(), file=sys.stderr)  # noqa: T201
    env.log.info("the token is %s", secret)
    warnings.warn(secret, stacklevel=1)
    await asyncio.to_thread(_log.warning, secret)
    if input.get("fails"):
        raise ValueError(f"refused {secret}")
    return {"digest": hashlib.sha256(secret.encode()).hexdigest(), secret: secret}


_running_now: set[object] = set()


@worker("slot_limited", concurrent=True, max_running=3)
async def slot_limited(input: dict[str, Any]) -> int:
    """Returns how many of its jobs run at once."""
    me = object()
    _running_now.add(me)
    seen = len(_running_now)
    await asyncio.sleep(0.1)
    _running_now.discard(me)
    return seen


@worker("slot_rated", concurrent=True, rate="5/second")
async def slot_rated(input: dict[str, Any]) -> None:
    """Start at a rate."""


#: What a receiver of Celery's signals has set for the run.
_signalled: ContextVar[str] = ContextVar("signalled", default="nothing")


@worker("slot_signalled", concurrent=True)
async def slot_signalled(input: dict[str, Any]) -> str:
    """Returns what the receiver of `task_prerun` has set, once others have run."""
    await asyncio.sleep(0.2)
    _tag.set(str(input["tag"]))
    return _signalled.get()


def _is_signalled(args: Any) -> bool:
    return "wkr_slot_signalled" in str(args)


@signals.task_prerun.connect
def _on_begin(task_id: str = "", args: Any = (), **_: Any) -> None:
    if _is_signalled(args):
        _signalled.set(task_id)
        print(f"begins {task_id}")  # noqa: T201


@signals.task_success.connect
def _on_success(result: Any = None, **_: Any) -> None:
    if _signalled.get() != "nothing":
        _log.info("result %s of %s", result, _tag.get())


@signals.task_postrun.connect
def _on_end(task_id: str = "", args: Any = (), **_: Any) -> None:
    if _is_signalled(args):
        print(f"ends {task_id} {_signalled.get()} {_tag.get()}", end="")  # noqa: T201


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


@worker("slot_returns_outputs", concurrent=True)
async def slot_returns_outputs(input: dict[str, Any], env: Env) -> Any:
    """Return what a map has returned, which is read in pages."""
    return await env.map("slot_sleep", ({"number": number} for number in range(120)))


@worker("slot_forgets_await", concurrent=True)
async def slot_forgets_await(input: dict[str, Any], env: Env) -> str:
    """Keep a step without awaiting the call."""
    env.step("pay", lambda: 1)
    return "done"


@worker("slot_beside")
def slot_beside(input: dict[str, Any]) -> dict[str, Any]:
    """Run in a process of its own."""
    return {"pid": os.getpid()}


@worker("slot_hold", concurrent=True)
async def slot_hold(input: dict[str, Any]) -> int:
    """Keep memory for good, in MiB."""
    _retained.append(bytearray(int(input["mb"]) * 1024 * 1024))
    await asyncio.sleep(1)
    return os.getpid()


_retained: list[bytearray] = []


@worker("slot_tick", concurrent=True)
async def slot_tick(input: dict[str, Any]) -> None:
    """Record its process and the time, again and again."""
    for _ in range(int(input["seconds"] * 10)):
        _tick(input["path"])
        await asyncio.sleep(0.1)


@worker("process_tick")
def process_tick(input: dict[str, Any]) -> None:
    """Do the same in a process of its own."""
    for _ in range(int(input["seconds"] * 10)):
        _tick(input["path"])
        time.sleep(0.1)


def _tick(path: str) -> None:
    with open(path, "a") as file:
        file.write(f"{os.getpid()} {time.time()}\n")


@worker("slot_exit", concurrent=True)
async def slot_exit(input: dict[str, Any]) -> None:
    """Leave the process, as far as a task can."""
    asyncio.get_running_loop().create_task(_leave())
    await asyncio.sleep(0.2)


async def _leave() -> None:
    sys.exit(3)
