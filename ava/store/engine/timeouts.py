"""Timeouts for a PostgreSQL server that does not answer: a frozen or unreachable server refuses no connection.

libpq limits only the opening of a connection, and not even that if a wait callback is set. psycopg2 has one wait
callback per process, so processes that run handlers set none.

A statement may take long. After some seconds of silence, a new connection checks whether the server still answers.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import psycopg2
from psycopg2 import extensions

#: Connect timeout in seconds, and seconds of silence until the server is checked.
_CONNECT_SECONDS = 1.5
_SILENCE_SECONDS = 1.2
#: Seconds that the server has to answer the check.
_PROBE_SECONDS = 0.5
#: `psycopg2.extensions.STATUS_SETUP`: the connection is being opened.
_CONNECTING = 0
#: SSLRequest (PostgreSQL manual, Message Formats); every server answers it with one letter.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)

#: Waits at most the given seconds until a file descriptor is readable (True) or writable. Returns False on timeout.
Wait = Callable[[int, bool, float], bool]

#: Resolves a host name to addresses instead of libpq. At most one.
_lookups: list[Callable[[str, str], list[str]]] = []


def install_for_threads() -> None:
    """Set the timeouts for this process. Other threads run during a wait."""
    _install(_poll)


def install_for_greenlets() -> None:
    """Set the timeouts for this process. Other greenlets run during a wait."""
    import gevent
    from gevent.socket import wait_read, wait_write

    def wait(descriptor: int, reads: bool, seconds: float) -> bool:
        try:
            (wait_read if reads else wait_write)(descriptor, timeout=seconds)
        except TimeoutError:
            return False
        return True

    def lookup(host: str, port: str) -> list[str]:
        # In a thread of gevent, which continues after the timeout.
        with gevent.Timeout(_CONNECT_SECONDS, psycopg2.OperationalError(f"the name {host} was not resolved in time")):
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    _install(wait)
    _lookups.append(lookup)


def with_addresses(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return connection parameters with resolved host addresses, if libpq's name resolution would block an event loop.

    libpq resolves names in the connecting thread, and a name server may be silent for ten seconds. Each address becomes
    a separate host. Raises `psycopg2.OperationalError` if no host has an address.
    """
    hosts = str(parameters.get("host") or "")
    if not _lookups or not hosts or "hostaddr" in parameters:
        return parameters
    names = hosts.split(",")
    ports = str(parameters.get("port") or 5432).split(",")
    found: list[tuple[str, str, str]] = []
    failure: Exception | None = None
    for name, port in zip(names, ports if len(ports) == len(names) else ports * len(names), strict=False):
        try:
            found += ((name, address, port) for address in _addresses(name, port))
        except (OSError, psycopg2.OperationalError) as error:
            failure = error
    if not found:
        raise psycopg2.OperationalError(f"the host name of PostgreSQL was not resolved: {failure}")
    hosts, addresses, ports_of = (",".join(part) for part in zip(*found, strict=True))
    return parameters | {"host": hosts, "hostaddr": addresses, "port": ports_of}


def _addresses(name: str, port: str) -> list[str]:
    # A socket directory has no address.
    return [""] if name.startswith("/") else _lookups[-1](name, port)


def uninstall() -> None:
    """Remove the timeouts from a process that was forked from one that has set them."""
    extensions.set_wait_callback(None)
    _lookups.clear()


def _poll(descriptor: int, reads: bool, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN if reads else select.POLLOUT)
    return bool(poll.poll(seconds * 1000))


def _install(wait: Wait) -> None:
    def wait_for(connection: Any) -> None:
        is_connecting = connection.status == _CONNECTING
        deadline = time.monotonic() + _CONNECT_SECONDS
        while (state := connection.poll()) != extensions.POLL_OK:
            seconds = max(0.0, deadline - time.monotonic()) if is_connecting else _SILENCE_SECONDS
            if not wait(connection.fileno(), state == extensions.POLL_READ, seconds) and (
                is_connecting or not _is_reachable(connection.info.host, connection.info.port)
            ):
                raise psycopg2.OperationalError("PostgreSQL does not respond")

    extensions.set_wait_callback(wait_for)


def _is_reachable(host: str, port: int) -> bool:
    """Return True if the server answers an SSLRequest."""
    try:
        with _connect(host, port) as sock:
            sock.sendall(_SSL_REQUEST)
            return bool(sock.recv(1))
    except OSError:
        return False


def _connect(host: str, port: int) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port), timeout=_PROBE_SECONDS)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(_PROBE_SECONDS)
    try:
        sock.connect(f"{host}/.s.PGSQL.{port}")
    except OSError:
        sock.close()
        raise
    return sock
