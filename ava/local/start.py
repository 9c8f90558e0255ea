"""Starting a server and waiting until it answers, with its own last words when it does not."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

from ava.errors import ServerFailed
from ava.local.output import last_words
from ava.local.postgres import Postgres
from ava.local.program import ChildProcess
from ava.local.redis import Redis

__all__ = ["await_answer", "free_port", "start"]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(server: Postgres | Redis, log: Path) -> ChildProcess:
    """Start `server` with its output going to `log`; it may take a moment until it answers."""
    server.prepare()
    with log.open("wb") as output:
        return ChildProcess.start(server.program(), output)


def await_answer(
    server: Postgres | Redis,
    child: ChildProcess,
    log: Path,
    *,
    seconds: float = 60,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until `child` answers; raises `ServerFailed` with the end of its log when it ends or takes too long."""
    deadline = time.monotonic() + seconds
    while not server.is_ready(child):
        if child.exit_code is not None:
            raise ServerFailed(f"{child.program.name} did not start: {last_words(log)} (all of it: {log}).")
        if time.monotonic() > deadline:
            raise ServerFailed(f"{child.program.name} did not answer within {seconds:g} s; its log is {log}.")
        wait(0.02)
