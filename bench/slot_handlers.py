"""Handlers for `python -m bench.slots`: concurrent ones, and their equivalents in a process."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ava import Env, worker

_BRIEF_SECONDS = 0.002


@worker("noop", concurrent=True)
async def noop(_input: dict[str, Any], env: Env) -> Any:
    """Do nothing but log two lines."""
    return _log_two_lines(env)


@worker("wait", concurrent=True)
async def wait(input: dict[str, Any]) -> Any:
    """Wait."""
    await asyncio.sleep(input["seconds"])
    return {"ok": 1}


@worker("ask", concurrent=True)
async def ask(input: dict[str, Any]) -> Any:
    """Wait for the response of a local HTTP server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", input["port"])
    writer.write(f"GET /{input['seconds']} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
    response = await reader.read()
    writer.close()
    return {"bytes": len(response)}


@worker("brief_wait", concurrent=True)
async def brief_wait(_input: dict[str, Any], env: Env) -> Any:
    """Wait 2 ms, as for another service."""
    env.log.info("one")
    await asyncio.sleep(_BRIEF_SECONDS)
    env.log.info("two")
    return {"ok": 1}


@worker("brief_compute", concurrent=True)
async def brief_compute(_input: dict[str, Any], env: Env) -> Any:
    """Compute for 2 ms of processor time."""
    return _compute(env)


@worker("pool_noop")
def pool_noop(_input: dict[str, Any], env: Env) -> Any:
    """Do the same as `noop`, in a process."""
    return _log_two_lines(env)


@worker("pool_brief_wait")
def pool_brief_wait(_input: dict[str, Any], env: Env) -> Any:
    """Do the same as `brief_wait`, in a process."""
    env.log.info("one")
    time.sleep(_BRIEF_SECONDS)
    env.log.info("two")
    return {"ok": 1}


@worker("pool_brief_compute")
def pool_brief_compute(_input: dict[str, Any], env: Env) -> Any:
    """Do the same as `brief_compute`, in a process."""
    return _compute(env)


def _log_two_lines(env: Env) -> Any:
    env.log.info("one")
    env.log.info("two")
    return {"ok": 1}


def _compute(env: Env) -> Any:
    env.log.info("one")
    until = time.thread_time() + _BRIEF_SECONDS
    while time.thread_time() < until:
        pass
    env.log.info("two")
    return {"ok": 1}
