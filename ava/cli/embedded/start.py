"""Starting a server and waiting until it answers, with its own last words when it does not."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from ava.cli.child import Child
from ava.cli.embedded.postgres import Postgres
from ava.cli.embedded.redis import Redis
from ava.errors import ServerFailed

__all__ = ["await_ready", "free_port", "start"]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(server: Postgres | Redis, log: Path) -> Child:
    """Start `server` with its output going to `log`; it may take a moment until it answers."""
    if isinstance(server, Postgres):
        server.prepare()
    with log.open("wb") as output:
        return Child.start(server.program(), output)


def await_ready(server: Postgres | Redis, child: Child, log: Path, *, seconds: float = 60) -> None:
    """Wait until `child` answers; raises `ServerFailed` with the end of its log when it ends or takes too long."""
    deadline = time.monotonic() + seconds
    while not server.is_ready(child):
        if child.exit_code is not None:
            raise ServerFailed(f"{child.program.name} did not start: {_last_words(log)} (all of it: {log}).")
        if time.monotonic() > deadline:
            child.kill()
            raise ServerFailed(f"{child.program.name} did not answer within {seconds:g} s; its log is {log}.")
        time.sleep(0.02)


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it said nothing"
