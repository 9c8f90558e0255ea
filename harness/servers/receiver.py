"""A receiver of webhooks: an HTTP server that keeps every request and responds as the test says."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request."""

    headers: dict[str, str]
    body: bytes
    path: str
    #: When it came, in Unix seconds.
    at: float

    @property
    def event(self) -> dict[str, Any]:
        """The event in its body."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass(frozen=True)
class Reply:
    """A response."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    #: Seconds before it is sent.
    after: float = 0.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: a sender that was killed is not an error here."""


class Receiver:
    """Responds to each request with the result of `reply`."""

    def __init__(self, reply: Callable[[Received], Reply] = lambda _: Reply()) -> None:
        self.reply = reply
        self.received: list[Received] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._respond(self)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def _respond(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("content-length", 0))
        body = handler.rfile.read(length)
        if len(body) < length:
            # The sender was killed while it sent the request.
            return
        headers = {name.lower(): value for name, value in handler.headers.items()}
        received = Received(headers=headers, body=body, path=handler.path, at=time.time())
        self.received.append(received)
        reply = self.reply(received)
        time.sleep(reply.after)
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(reply.body)))
        handler.end_headers()
        handler.wfile.write(reply.body)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events so far, in the order in which they came."""
        return [received.event for received in list(self.received)]

    def times_received(self) -> Counter[str]:
        """Returns how often each event came, by its id."""
        return Counter(received.headers["webhook-id"] for received in list(self.received))

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class SilentServer:
    """A server whose kernel accepts connections and which never sends a byte."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/hook"

    def close(self) -> None:
        """Close the listening socket."""
        self._listener.close()
