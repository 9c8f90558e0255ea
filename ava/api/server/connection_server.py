"""Accept the connections of one API process.

A new connection is served before the event loop returns to earlier ones. Otherwise it would wait for one whole loop
iteration to be accepted, and for another one to be read.

Connections that have sent nothing cost little and come in floods. So they do not count for the connections accepted per
loop iteration, and a connection that its client has already closed is dropped on accept.
"""

from __future__ import annotations

import socket
from typing import Any

from gevent.server import StreamServer

#: Connections with a request that are accepted per loop iteration. With one, gunicorn's default, they wait behind a
#: flood; with many, one process takes most of the connections that arrive together.
_ACCEPTED_AT_ONCE = 4
#: Silent connections that are accepted before the first one with a request.
_SILENT_AT_ONCE = 64


class ConnectionServer(StreamServer):  # type: ignore[misc]
    """A server in which silent connections of one client do not delay another client's request."""

    max_accept = _ACCEPTED_AT_ONCE
    _watcher: Any

    def start_accepting(self) -> None:
        if self._watcher is None:
            self._watcher = self.loop.io(self.socket.fileno(), 1, priority=self.loop.MAXPRI)
            self._watcher.start(self._do_read)

    def do_handle(self, client: Any, address: Any) -> None:
        """Serve a connection until it first waits."""
        # Switch to the greenlet now, as a watcher does. A started one would wait for the next loop iteration.
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
    """Return the first byte that a client sent, None if none has arrived yet, and b"" if none ever will."""
    try:
        first: bytes = client._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""
    return first
