"""A TCP proxy that can be cut, as if packets were dropped: connections stay open and nothing passes."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

__all__ = ["Proxy"]


class Proxy:
    """Forwards its own port to another."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        #: Set while data passes. A connection keeps the one that it began with.
        self._passes = threading.Event()
        self._passes.set()
        self._abandoned: list[threading.Event] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Stop forwarding."""
        self._passes.clear()

    def heal(self) -> None:
        """Forward again, including what was sent meanwhile, as a network would."""
        self._passes.set()

    def abandon(self) -> None:
        """Forward new connections. Those that are open stay so and pass nothing more: their host is gone for good."""
        self._passes.clear()
        self._abandoned.append(self._passes)
        self._passes = threading.Event()
        self._passes.set()

    def close(self) -> None:
        """Accept no more connections, and close the open ones."""
        for passes in (*self._abandoned, self._passes):
            passes.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._sockets):
            _end(each)

    def _accept(self) -> None:
        while True:
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
