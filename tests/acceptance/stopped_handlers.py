"""Handlers that are stopped by a cancel, a timeout or a shutdown, each with its own way to react."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time

from ava import Env, worker
from tests.acceptance.witness import record

_STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(120)"
)


@worker("t_wait", cancel_grace_seconds=5, max_retries=1)
def wait(input, env: Env):
    """Wait, and record what is raised."""
    record(input, "begin")
    try:
        while True:
            time.sleep(10)
    except BaseException as interruption:
        record(input, type(interruption).__name__)
        if input.get("then") == "return":
            return {"kept": True, "cancelled": env.cancelled}
        raise
    finally:
        env.log.info("cleaning up")
        record(input, "finally")


@worker("t_wait_async", cancel_grace_seconds=5)
async def wait_async(input, env: Env):
    record(input, "begin")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        record(input, "CancelledError")
        raise
    finally:
        await asyncio.sleep(0.01)
        env.log.info("cleaning up")
        record(input, "finally")


@worker("t_look", cancel_grace_seconds=5)
def look(input, env: Env):
    """Ignore SIGTERM and check only `env.cancelled`."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    record(input, "begin")
    while not env.cancelled:
        time.sleep(0.01)
    record(input, "finally")
    return {"saw": "env.cancelled"}


@worker("t_own_signal", cancel_grace_seconds=5)
def own_signal(input, env: Env):
    """Install a SIGTERM handler of its own."""
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, _: received.append(signum))
    record(input, "begin")
    while not received:
        time.sleep(0.01)
    time.sleep(0.5)
    record(input, "finally")
    return {"received": received, "cancelled": env.cancelled}


@worker("t_own_signal_async", cancel_grace_seconds=5)
async def own_signal_async(input):
    """Install a SIGTERM handler in the event loop."""
    received = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, received.set)
    record(input, "begin")
    await received.wait()
    record(input, "finally")
    return {"received": True}


_children: list[subprocess.Popen[bytes]] = []


@worker("t_stubborn", cancel_grace_seconds=1)
def stubborn(input):
    """Ignore SIGTERM, with children that ignore it: one in this group, one in its own session, one orphaned as well."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for command in (
        [sys.executable, "-c", _STUBBORN],
        ["setsid", sys.executable, "-c", _STUBBORN],
        ["sh", "-c", 'setsid "$0" -c "$1" &', sys.executable, _STUBBORN],
    ):
        _children.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        _children[-1].stdout.readline()
    record(input, "begin")
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


@worker("t_starts", cancel_grace_seconds=5)
def starts(input):
    """Start a subprocess and wait for it."""
    child = subprocess.Popen(["sleep", "120"])
    record(input, f"child={child.pid}")
    record(input, "begin")
    try:
        child.wait()
    finally:
        record(input, "finally")


@worker("t_times_out", timeout_seconds=0.5, cancel_grace_seconds=0.5)
def times_out(input):
    """Exceed the timeout in one of several ways."""
    how = input["how"]
    record(input, "begin")
    try:
        if how == "python":
            while True:
                pass
        if how == "system_call":
            os.read(os.pipe()[0], 1)
        if how == "gil":
            ctypes.PyDLL(None).sleep(60)
        if how == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                time.sleep(0.1)
        time.sleep(60)
    except BaseException as interruption:
        record(input, type(interruption).__name__)
        if how == "return":
            return {"in": "time"}
        raise
    finally:
        record(input, "finally")


@worker("t_step", cancel_grace_seconds=5, on_worker_lost="requeue")
def step(input):
    """Run for some seconds, and record the begin and the end."""
    record(input, "begin")
    try:
        time.sleep(input["seconds"])
    except BaseException as interruption:
        record(input, type(interruption).__name__)
        raise
    record(input, "end")
    return {"pid": os.getpid()}
