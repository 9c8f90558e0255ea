"""A closed-loop HTTP load generator: several connections in one thread, each with one request in flight.

A connection is reused for the next request unless the server closes it, like gunicorn's sync workers.
"""

from __future__ import annotations

import math
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Load:
    """The result of a load."""

    requests_per_second: float
    #: Milliseconds.
    p50: float
    p99: float
    #: Number of responses other than 2xx.
    refused: int


def percentile(values: list[float], percent: float) -> float:
    """Return the nearest-rank percentile: the least value that `percent` percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return a whole POST request."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection:
    """One connection with one request in flight."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._answer = b""
        self.sent_at = 0.0
        #: Whether the server closes the connection after the last response.
        self.is_closed = False
        self._connect()

    def _connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self._port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.is_closed = False

    def reconnect(self) -> None:
        """Replace a connection that the server has closed. The time of a request does not include it."""
        self.socket.close()
        self._connect()

    def send(self, request: bytes) -> None:
        """Send a whole request."""
        self._answer = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> int | None:
        """Return the status once a whole response has arrived; None before."""
        data = self.socket.recv(262_144)
        assert data, "the server closed a keep-alive connection"
        self._answer += data
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator:
            return None
        fields = head.lower()
        length = fields.partition(b"content-length:")[2].split(b"\r\n")[0]
        if len(body) < int(length):
            return None
        self.is_closed = b"connection: close" in fields
        return int(head[9:12])


def generate(port: int, make: Callable[[int], bytes], *, requests: int, connections: int = 8) -> Load:
    """Send requests, each connection one after the other without a pause."""
    selector = selectors.DefaultSelector()
    open_connections = [Connection(port) for _ in range(connections)]
    sent = refused = 0
    took: list[float] = []
    began = time.perf_counter()
    for connection in open_connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(make(sent))
        sent += 1
    while len(took) < requests:
        for key, _ in selector.select(30):
            connection = key.data
            status = connection.receive()
            if status is None:
                continue
            took.append((time.perf_counter() - connection.sent_at) * 1000)
            refused += not 200 <= status < 300
            if connection.is_closed:
                selector.unregister(connection.socket)
                connection.reconnect()
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            if sent < requests:
                connection.send(make(sent))
                sent += 1
    seconds = time.perf_counter() - began
    for connection in open_connections:
        connection.socket.close()
    return Load(
        requests_per_second=requests / seconds, p50=percentile(took, 50), p99=percentile(took, 99), refused=refused
    )
