"""Handlers that decide by the time, and are killed or refused before their next step is written.

Each has an order that is either refunded or shipped, never both.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import ava
from ava import Env, worker
from tests.acceptance.witness import record

Input = dict[str, Any]


@worker("d_pack")
def pack(input: Input) -> str:
    """End once the file is there."""
    until = time.monotonic() + 30
    while not Path(input["gate"]).exists() and time.monotonic() < until:
        time.sleep(0.02)
    return "packed"


def _refund(input: Input) -> str:
    """Record the refund, end the wait of the handler, and die once."""
    record(input, "refund")
    gate = Path(input["gate"])
    is_first = not gate.exists()
    gate.touch()
    if is_first and input["how"] == "killed":
        # So the child ends, or the test sends the event, before the process dies.
        time.sleep(1.5)
        os.kill(os.getpid(), signal.SIGKILL)
    return "refund"


@worker("d_order", on_worker_lost="requeue")
def order(input: Input, env: Env) -> str:
    """Refund the order if the child or the event is late; ship it otherwise."""
    child = env.trigger("d_pack", input)
    try:
        if input["wait"] == "event":
            env.wait_event("d.packed", {"data": {"order": [input["gate"]]}}, timeout=1)
        else:
            env.wait(child, timeout=1)
    except ava.WaitTimeout:
        if input["how"] == "refused":
            # A refusal is a transaction that is rolled back.
            try:
                env.trigger("d_unknown")
            except ava.ChildRefused:
                _refund(input)
        else:
            env.step("refund", _refund, input)
    else:
        env.step("ship", record, input, "ship")
    env.sleep(1.5)
    return "ended"


@worker("d_slot_order", concurrent=True, on_worker_lost="requeue")
async def slot_order(input: Input, env: Env) -> str:
    """Do the same in a slot. With `branch`, the branch that ships is left because the other one times out."""
    child = await env.trigger("d_pack", input)

    async def ship() -> None:
        await env.wait(child)
        await env.step("ship", record, input, "ship")

    async def decide() -> None:
        if input["wait"] == "event":
            await env.wait_event("d.packed", {"data": {"order": [input["gate"]]}}, timeout=1)
        else:
            await env.wait(child, timeout=1)

    try:
        if input["wait"] == "branch":
            await env.gather(env.wait_event("d.never", timeout=1), ship())
        else:
            await decide()
    except ava.WaitTimeout:
        if input["how"] == "refused":
            try:
                await env.trigger("d_unknown")
            except ava.ChildRefused:
                await asyncio.to_thread(_refund, input)
        else:
            await env.step("refund", lambda: asyncio.to_thread(_refund, input))
    else:
        await env.step("ship", record, input, "ship")
    await env.sleep(1.5)
    return "ended"
