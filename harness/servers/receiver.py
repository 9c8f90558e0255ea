"""A receiver of webhooks: an HTTP server of the test that remembers all that it hears, and answers as it is told."""

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

__all__ = ["Deaf", "Heard", "Receiver", "Reply"]


@dataclass(frozen=True)
class Heard:
    """One request."""

    headers: dict[str, str]
    body: bytes
    path: str
    #: When it came, in Unix seconds.
    at: float

    @property
    def event(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass(frozen=True)
class Reply:
    """What is answered."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    #: Seconds that pass before.
    after: float = 0.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that was killed is no error here."""


class Receiver:
    """Answers each request with what `reply` makes of it."""

    def __init__(self, reply: Callable[[Heard], Reply] = lambda _: Reply()) -> None:
        self.reply = reply
        self.heard: list[Heard] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers["content-length"])
        body = handler.rfile.read(length)
        if len(body) < length:
            # The sender was killed in the middle.
            return
        headers = {name.lower(): value for name, value in handler.headers.items()}
        heard = Heard(headers=headers, body=body, path=handler.path, at=time.time())
        self.heard.append(heard)
        reply = self.reply(heard)
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
        return [heard.event for heard in list(self.heard)]

    def times_heard(self) -> Counter[str]:
        """How often each event came, by its id."""
        return Counter(heard.headers["webhook-id"] for heard in list(self.heard))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class Deaf:
    """A server that takes connections, by the kernel's hand, and never says a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/hook"

    def close(self) -> None:
        self._listener.close()
