"""Handlers that take memory, most of them with a limit."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import subprocess
import sys
import time
from typing import Any

import ava
from ava import Env, worker

_MIB = 1024 * 1024
LIMIT_MB = 256
_EATS = "import sys, time; held = b'x' * (int(sys.argv[1]) << 20); time.sleep(60)"


def grow(mb_per_second: float, seconds: float) -> list[bytes]:
    """Take memory steadily."""
    held: list[bytes] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        held.append(b"x" * (_MIB * mb_per_second // 20))
        time.sleep(0.05)
    return held


@worker("m_grows", max_memory_mb=LIMIT_MB)
def grows(input: dict[str, Any], env: Env) -> Any:
    """Take memory until it is stopped; with `swallows` it goes on."""
    try:
        grow(100, 60)
    except ava.MemoryExceeded as error:
        env.log.info("stopped: %s", error)
        if not input.get("swallows"):
            raise
        time.sleep(60)


@worker("m_grows_async", max_memory_mb=LIMIT_MB)
async def grows_async(input: dict[str, Any]) -> Any:
    held = b"x" * (input["mb"] * _MIB)
    await asyncio.sleep(60)
    return len(held)


@worker("m_jumps", max_memory_mb=LIMIT_MB, cancel_grace_seconds=30)
def jumps(input: dict[str, Any]) -> Any:
    """Take far more than it may at once, and go on when it is asked to stop, because the first look may be early."""
    # Memory that nothing has written to yet, so that no look finds it before the handler swallows what asks it to stop.
    held = mmap.mmap(-1, 2 * LIMIT_MB * _MIB)
    while True:
        with contextlib.suppress(BaseException):
            for at in range(0, len(held), mmap.PAGESIZE):
                held[at] = 1
            time.sleep(60)


@worker("m_subprocess", max_memory_mb=LIMIT_MB)
def starts(input: dict[str, Any]) -> Any:
    """Have another process take the memory."""
    subprocess.run([sys.executable, "-c", _EATS, str(LIMIT_MB)], check=True)


@worker("m_repeated", max_memory_mb=LIMIT_MB, retry=ava.Retry(max=2, delays_seconds=[0.1]), retry_on=ava.MemoryExceeded)
def repeated(input: dict[str, Any], env: Env) -> Any:
    """Take less in the second attempt; raise another error if asked to."""
    if "raises" in input:
        raise ValueError("not repeated")
    if env.attempt == 1:
        grow(400, 60)
    return env.attempt


@worker(
    "m_repeated_killed",
    max_memory_mb=LIMIT_MB,
    retry=ava.Retry(max=1, delays_seconds=[0.1]),
    retry_on=ava.MemoryExceeded,
)
def repeated_killed(input: dict[str, Any], env: Env) -> Any:
    if env.attempt == 1:
        held = b"x" * (2 * LIMIT_MB * _MIB)
        time.sleep(60)
        return len(held)
    return env.attempt


_retained: list[bytes] = []


@worker("m_keeps")
def keeps(input: dict[str, Any]) -> Any:
    """Leave memory behind in the process. It has no limit."""
    _retained.append(b"x" * (input["mb"] * _MIB))
    return os.getpid()


@worker("m_keeps_long")
def keeps_long(input: dict[str, Any]) -> Any:
    held = b"x" * (input["mb"] * _MIB)
    time.sleep(60)
    return len(held)


@worker("m_fails_lost", on_worker_lost="fail")
def fails_lost(input: dict[str, Any]) -> Any:
    return keeps_long(input)


@worker("m_takes", max_memory_mb=LIMIT_MB)
def takes(input: dict[str, Any]) -> Any:
    """Take some memory for some seconds."""
    held = b"x" * (input.get("mb", 0) * _MIB)
    end = time.process_time() + input.get("cpu_seconds", 0)
    while time.process_time() < end:
        pass
    time.sleep(input.get("seconds", 0))
    return {"pid": os.getpid(), "held": len(held)}


@worker("m_brief")
def brief(input: dict[str, Any]) -> Any:
    """Do next to nothing, so that the runs of a message share a claim."""
    return input["n"]
