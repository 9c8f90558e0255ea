"""A TCP proxy that can be cut, as if packets were dropped: connections stay open and nothing passes."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit


class Proxy:
    """Forwards its own port to another."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        #: Set while data is forwarded. A connection uses the event of its start.
        self._passes = threading.Event()
        self._passes.set()
        self._abandoned: list[threading.Event] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: set[socket.socket] = set()
        #: Set while connections are accepted.
        self._accepts = threading.Event()
        self._accepts.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Stop forwarding."""
        self._passes.clear()

    def drop(self) -> None:
        """Stop forwarding for good. The listening queue is full, so the kernel drops packets that open connections."""
        self.cut()
        self._accepts.clear()
        self._listener.listen(0)
        for _ in range(3):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", self.port))
            self._sockets.add(waiting)
            # The accept call that began before takes the first one.
            time.sleep(0.1)

    def heal(self) -> None:
        """Forward again, including data sent during the cut, like a network."""
        self._passes.set()

    def abandon(self) -> None:
        """Forward new connections. Existing ones stay open and forward nothing: their host is gone for good."""
        self._passes.clear()
        self._abandoned.append(self._passes)
        self._passes = threading.Event()
        self._passes.set()

    def close(self) -> None:
        """Accept no more connections, and close the open ones."""
        for passes in (*self._abandoned, self._passes):
            passes.set()
        self._accepts.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._sockets):
            _end(each)

    def _accept(self) -> None:
        while self._accepts.wait():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        passes = self._passes
        passes.wait()
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            _end(client)
            return
        server.settimeout(None)
        self._sockets |= {client, server}
        threading.Thread(target=self._pass, args=(client, server, passes), daemon=True).start()
        self._pass(server, client, passes)

    def _pass(self, source: socket.socket, sink: socket.socket, passes: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                passes.wait()
                sink.sendall(data)
        passes.wait()
        _end(source)
        _end(sink)
        self._sockets -= {source, sink}


def _end(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


def proxy_to(url: str) -> Proxy:
    """Return a proxy to the server of a URL."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return Proxy(parts.hostname, parts.port)


def through(proxy: Proxy, url: str) -> str:
    """Return a server's URL with the address of its proxy."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{proxy.port}")).geturl()
