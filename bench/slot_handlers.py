"""Concurrent handlers for `python -m bench.slots`."""

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


@worker("ask", concurrent=True)
async def ask(input: dict[str, Any]) -> Any:
    """Wait for the answer of a local HTTP server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", input["port"])
    writer.write(f"GET /{input['seconds']} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return {"bytes": len(answer)}
