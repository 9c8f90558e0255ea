"""Accepts the connections of one API process.

A new connection is served before the event loop goes on with earlier ones. Otherwise it waited for one whole turn of
the loop to be accepted, and for another one to be read.

Connections that have sent nothing cost little and come in floods, so they take no place among those that are accepted
in one turn of the event loop, and one that its client has closed again is dropped where it is accepted.
"""

from __future__ import annotations

import socket
from typing import Any

from gevent.server import StreamServer

#: Connections with a request that are accepted in one turn of the event loop. With one, as gunicorn has it, they wait
#: behind a flood; with many, one process takes most of those that come at once.
_ACCEPTED_AT_ONCE = 4
#: Connections without one that are accepted before the first with one.
_SILENT_AT_ONCE = 64


class ConnectionServer(StreamServer):  # type: ignore[misc]
    """A server that does not let the request of one client wait behind silent connections of another."""

    max_accept = _ACCEPTED_AT_ONCE
    _watcher: Any

    def start_accepting(self) -> None:
        """Accept connections from now on."""
        if self._watcher is None:
            self._watcher = self.loop.io(self.socket.fileno(), 1, priority=self.loop.MAXPRI)
            self._watcher.start(self._do_read)

    def do_handle(self, client: Any, address: Any) -> None:
        """Serve a connection until it first waits."""
        # The loop switches to the greenlet, as a watcher does. A started one would wait for the loop's next turn.
        self._spawn_greenlet(client, address).switch()

    def _spawn_greenlet(self, client: Any, address: Any) -> Any:
        try:
            return self.pool.spawn(self._serve, client, address)
        except BaseException:
            self.do_close(client, address)
            raise

    def _serve(self, client: Any, address: Any) -> None:
        try:
            self.handle(client, address)
        finally:
            self.do_close(client, address)

    def do_read(self) -> tuple[Any, Any] | None:
        """Accept the next connection that has sent something. Returns None if there is none."""
        for _ in range(_SILENT_AT_ONCE):
            if self.full() or not (accepted := super().do_read()):
                return None
            client, address = accepted
            first = _peek(client)
            if first:
                return client, address
            if first is None:
                self._spawn_greenlet(client, address)
            else:
                client.close()
        return None


def _peek(client: Any) -> bytes | None:
    """Return the first byte that a client has sent, None if it may still come, and b"" if it never will."""
    try:
        first: bytes = client._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""
    return first
