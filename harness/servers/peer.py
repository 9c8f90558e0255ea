"""Small servers for the code under test to call: each talks as the test says, on a free port."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest


class Peer:
    """A server with one thread that passes one connection after the other to `talk`."""

    def __init__(self, talk: Callable[[socket.socket], None]) -> None:
        self.talk = talk
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with sock:
                sock.settimeout(10)
                try:
                    self.talk(sock)
                except OSError:
                    continue

    def close(self) -> None:
        """Stop the server."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


Serve = Callable[[Callable[[socket.socket], None]], Peer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers, and stops them after the test."""
    peers: list[Peer] = []

    def start(talk: Callable[[socket.socket], None]) -> Peer:
        peers.append(Peer(talk))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()


def read_request(sock: socket.socket) -> bytes:
    """Returns everything up to the end of a request whose Content-Length is right."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _received(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += _received(sock)
    return head + b"\r\n\r\n" + body


def _received(sock: socket.socket) -> bytes:
    data = sock.recv(65_536)
    if not data:
        raise ConnectionError("the client closed the connection")
    return data


def answering(response: bytes, *, seen: list[bytes] | None = None) -> Callable[[socket.socket], None]:
    """Returns a `talk` that reads a request, appends it to `seen`, and sends these bytes."""

    def talk(sock: socket.socket) -> None:
        request = read_request(sock)
        if seen is not None:
            seen.append(request)
        sock.sendall(response)

    return talk


def ok(body: bytes, *headers: str) -> bytes:
    """Returns a 200 response."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def name_server(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Resolve every name to these addresses, one answer for each look-up. Returns the names that were looked up."""
    asked: list[str] = []
    following = itertools.chain(answers, itertools.repeat(answers[-1]))

    def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in next(following)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked
