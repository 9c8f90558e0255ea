"""Start a server and wait until it, or the whole system, is ready. An error quotes the last line of a log."""

from __future__ import annotations

import http.client
import json
import random
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ava.errors import ServerFailed
from ava.local.data_folder import open_private
from ava.local.output import last_line
from ava.local.postgres import Postgres
from ava.local.program import ChildProcess
from ava.local.redis import Redis

#: Below the ports that Linux uses for outgoing connections (`net.ipv4.ip_local_port_range`, from 32768 by default).
_PORTS = range(10_000, 32_768)
_TRIES = 100


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now, and that no outgoing connection will take."""
    for port in (*random.sample(_PORTS, _TRIES), 0):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise OSError("no free port")


def start(server: Postgres | Redis, log: Path) -> ChildProcess:
    """Start `server` with its output to `log`, without waiting for its readiness."""
    server.prepare()
    with open_private(log) as output:
        return ChildProcess.start(server.program(), output)


def wait_until_ready(
    server: Postgres | Redis,
    child: ChildProcess,
    log: Path,
    *,
    seconds: float = 60,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until `child` is ready. Raise `ServerFailed` if it ends or takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while not server.is_ready(child):
        if child.exit_code is not None:
            raise failed_start(child.program.name, log)
        if time.monotonic() > deadline:
            raise ServerFailed(f"{child.program.name} did not answer within {seconds:g} s; its log is {log}.")
        wait(0.02)


def failed_start(name: str, log: Path) -> ServerFailed:
    reason = last_line(log.read_text(errors="replace"))
    return ServerFailed(f"{name} did not start: {reason} (its whole log: {log}).")


def is_system_ready(url: str, headers: Mapping[str, str]) -> bool:
    """Return True if a triggered job would start: the API is ready, and a live node serves a worker."""
    if _get(url, "/readyz", {}) is None:
        return False
    response = _get(url, "/v1/ava/workers?per_page=100", headers)
    return bool(response) and any(worker.get("live") for worker in response["data"])


def _get(url: str, path: str, headers: Mapping[str, str]) -> Any:
    """Return the JSON of a 200 response; None for any other response or error."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=2)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        return json.loads(response.read()) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
