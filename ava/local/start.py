"""Start a server on a free port and wait until it, or the whole system, is ready. Errors quote the last log line."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import random
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ava.errors import PortInUse, ServerFailed
from ava.local.data_folder import open_private
from ava.local.output import last_line
from ava.local.program import ChildProcess
from ava.local.servers import Postgres, Redis

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


def require_free(host: str, port: int) -> None:
    """Raise `PortInUse` if `port` is taken or privileged, or `host` is not an address of this machine."""
    try:
        family, kind, protocol, _, socket_address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # Like servers, so that connections in TIME_WAIT do not block the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(socket_address)
            probe.listen(1)
    except OSError as problem:
        raise PortInUse(_explain(host, port, problem)) from problem


def address(host: str, port: int) -> str:
    """Return the URL for clients on this machine of a server that listens on `host` and `port`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - not bound here
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _explain(host: str, port: int, problem: OSError) -> str:
    if problem.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use; choose another with --port."
    if problem.errno == errno.EACCES:
        return f"Port {port} needs more rights than ours; choose one above 1023 with --port."
    return f"{host} is no address of this machine ({problem.strerror}); choose another with --host."


_READY = b"READY=1"


class NotifySocket:
    """The supervisor's side: an abstract socket that receives one process's readiness."""

    def __init__(self) -> None:
        #: The process's NOTIFY_SOCKET. A leading @ marks an abstract name, outside the file system.
        self.name = f"@ava-{secrets.token_hex(16)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(_address(self.name))
        self._socket.setblocking(False)
        self._is_ready = False

    def __enter__(self) -> NotifySocket:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def expect_another(self) -> None:
        """Reset the readiness, because another process replaces this one."""
        self.is_ready()
        self._is_ready = False

    def is_ready(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            while not self._is_ready:
                self._is_ready = _READY in self._socket.recv(4096).splitlines()
        return self._is_ready


def notify(name: str) -> None:
    """Report this process's readiness to the socket `name`. Do nothing if no process listens there."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(_READY, _address(name))


def _address(name: str) -> str:
    return "\0" + name[1:] if name.startswith("@") else name
