"""Time-outs for a PostgreSQL server that does not answer. One that is frozen or cut off never refuses a connection.

libpq limits only the opening of a connection, and not even that if a wait callback is set. psycopg2 has one wait
callback for the whole process, so processes in which handlers run set none.

A statement may take long. After some seconds of silence a new connection checks that the server answers at all.
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

#: Seconds that the opening of a connection may take, and seconds of silence until the server is checked.
_CONNECT_SECONDS = 1.5
_SILENCE_SECONDS = 1.2
#: Seconds that the server has to answer the check.
_PROBE_SECONDS = 0.5
#: `psycopg2.extensions.STATUS_SETUP`: the connection is being opened.
_CONNECTING = 0
#: SSLRequest (PostgreSQL manual, Message Formats); every server answers it with one letter.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)

#: Waits until a file descriptor can be read (if the second argument is True) or written, for at most so many seconds.
#: Returns False if the time is over.
Wait = Callable[[int, bool, float], bool]

#: How the addresses of a host are found, if libpq must not do it. At most one.
_look_ups: list[Callable[[str, str], list[str]]] = []


def install_for_threads() -> None:
    """Set the time-outs for this process. Its other threads run during a wait."""
    _install(_poll)


def install_for_greenlets() -> None:
    """Set the time-outs for this process. Its other greenlets run during a wait."""
    import gevent
    from gevent.socket import wait_read, wait_write

    def wait(descriptor: int, reads: bool, seconds: float) -> bool:
        try:
            (wait_read if reads else wait_write)(descriptor, timeout=seconds)
        except TimeoutError:
            return False
        return True

    def look_up(host: str, port: str) -> list[str]:
        # In a thread of gevent's, which goes on if the time is over.
        with gevent.Timeout(
            _CONNECT_SECONDS, psycopg2.OperationalError(f"the name {host} could not be looked up in time")
        ):
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    _install(wait)
    _look_ups.append(look_up)


def with_addresses(parameters: dict[str, Any]) -> dict[str, Any]:
    """Returns the parameters of a connection with the addresses of its hosts, where libpq's look-up would stop a loop.

    libpq looks a name up in the thread that connects, and a name server may be silent for ten seconds. Each address
    of a host is a host to it. Raises `psycopg2.OperationalError` if no host has an address.
    """
    hosts = str(parameters.get("host") or "")
    if not _look_ups or not hosts or "hostaddr" in parameters:
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
        raise psycopg2.OperationalError(f"the host of PostgreSQL has no address: {failure}")
    hosts, addresses, ports_of = (",".join(part) for part in zip(*found, strict=True))
    return parameters | {"host": hosts, "hostaddr": addresses, "port": ports_of}


def _addresses(name: str, port: str) -> list[str]:
    # The directory of a socket needs none.
    return [""] if name.startswith("/") else _look_ups[-1](name, port)


def uninstall() -> None:
    """Remove the time-outs from a process that was forked from one that has set them."""
    extensions.set_wait_callback(None)
    _look_ups.clear()


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
                is_connecting or not _answers(connection.info.host, connection.info.port)
            ):
                raise psycopg2.OperationalError("PostgreSQL does not answer")

    extensions.set_wait_callback(wait_for)


def _answers(host: str, port: int) -> bool:
    """Returns True if the server answers an SSLRequest."""
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
