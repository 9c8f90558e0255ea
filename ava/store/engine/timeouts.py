"""How long a process waits for PostgreSQL before it takes it for gone: one that is frozen or cut off never refuses.

libpq limits nothing but the making of a connection, and not even that where others wait for it. psycopg2 lets whoever
uses it do the waiting; the choice holds for the whole process, so a process in which handlers run makes none.

A statement may take its time. After some silence the server is asked, on a new connection, whether it is there at all.
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

__all__ = ["install_for_greenlets", "install_for_threads", "uninstall"]

#: Seconds that the making of a connection may take, and seconds of silence after which the server is asked.
_CONNECT_SECONDS = 1.5
_SILENCE_SECONDS = 1.2
#: Seconds for the answer to that.
_PROBE_SECONDS = 0.5
#: `psycopg2.extensions.STATUS_SETUP`: the connection is still being made.
_CONNECTING = 0
#: "Do you speak TLS?" (PostgreSQL manual, Message Formats, SSLRequest); every server answers with one letter.
_QUESTION = struct.pack("!ii", 8, 80877103)

#: Waits until a file descriptor can be read (or, second, written) for so many seconds; False where the time is over.
Wait = Callable[[int, bool, float], bool]


def install_for_threads() -> None:
    """Limit this process's waiting; its threads go on meanwhile."""
    _install(_poll)


def install_for_greenlets() -> None:
    """Limit this process's waiting; its greenlets go on meanwhile, which they otherwise do not."""
    from gevent.socket import wait_read, wait_write

    def wait(descriptor: int, reads: bool, seconds: float) -> bool:
        try:
            (wait_read if reads else wait_write)(descriptor, timeout=seconds)
        except TimeoutError:
            return False
        return True

    _install(wait)


def uninstall() -> None:
    """Undo it, for a process that was forked from one that limits its waiting."""
    extensions.set_wait_callback(None)


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
                is_connecting or not _is_there(connection.info.host, connection.info.port)
            ):
                raise psycopg2.OperationalError("PostgreSQL does not answer")

    extensions.set_wait_callback(wait_for)


def _is_there(host: str, port: int) -> bool:
    """Whether a server answers at all."""
    try:
        with _connect(host, port) as sock:
            sock.sendall(_QUESTION)
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
