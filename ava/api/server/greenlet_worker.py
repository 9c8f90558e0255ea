"""The gunicorn worker: a gevent worker whose error responses are the contract's JSON, not gunicorn's HTML.

Gunicorn imports this module by its name; the import patches nothing.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gunicorn.http import errors as http_errors
from gunicorn.workers.ggevent import GeventWorker

from ava.api.http.error_responses import error_body
from ava.api.server.connection_server import ConnectionServer
from ava.api.server.request_body import PIECE_BYTES, PendingBodies, RequestHead, TimedBody, exceeded_limit
from ava.domain import ids
from ava.domain.limits import table as limits
from ava.error_codes import code_of
from ava.errors import AvaError
from ava.process.startup import without_collections, without_gevent_plugins
from ava.telemetry import logs

#: Seconds from a request's first byte to the end of its headers.
_HEADER_SECONDS = limits.HEADER_SECONDS.value
#: Connections above which a new one closes the longest idle one, so that idle connections leave room for requests and
#: health checks.
_BUSY_CONNECTIONS = limits.CONNECTIONS.value
#: Seconds that a thread may compute while the event loop waits for the GIL. Each read and write of the loop may wait
#: this long; Python's own 5 ms would add up to 100 ms in one request.
_SWITCH_SECONDS = 0.0005
#: Frames of Python's stack: its default, and two for each level of a large body (`ava.domain.client_json`).
_MAX_FRAMES = 1_000 + 2 * limits.NESTING.value
#: Objects created, less those freed, before Python's garbage collector looks for cycles. With Python's own 700, one
#: large body causes full collections, each of which stops the event loop for up to 50 ms.
_YOUNG_OBJECTS = 50_000
#: The paths that the health port serves, and the path, without a route, that replaces any other.
_HEALTH_PATHS = ("/livez", "/readyz", "/metrics")
_NO_PATH = "/health-checks-only"
_HEALTH_CONNECTIONS = 100
#: Seconds that a client may take to receive any one piece of a response.
_SEND_SECONDS = 30
#: Max bytes of a response's part that is copied behind its head, so that both are one system call and one segment.
_JOINED_BYTES = 2**16
#: Seconds between two reads after a refused head.
_DRAIN_PAUSE_SECONDS = 0.05

#: Buffer of `_drain`; nothing is copied into it.
_dropped = bytearray(2**18)

_STATUSES: tuple[tuple[type[Exception], int, str], ...] = (
    (http_errors.LimitRequestLine, 414, "The request line is too long."),
    (http_errors.UnsupportedTransferCoding, 501, "This Transfer-Encoding is not supported; send chunked or none."),
    (http_errors.ExpectationFailed, 417, "This Expect header is not supported; only 100-continue is."),
    (http_errors.ParseException, 400, "The request is not valid HTTP/1.1."),
)
_REASONS = {
    400: "Bad Request",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
}


class GreenletWorker(GeventWorker):  # type: ignore[misc]
    """A gunicorn worker that serves each connection in a greenlet."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: dict[Any, Any] = {}
        #: The greenlets that wait for a request, the longest waiting first.
        self._idle: dict[Any, None] = {}
        #: Connections closed in favour of newer ones that have not ended yet; they do not count.
        self._closing: set[Any] = set()
        self._is_stopping = Event()

    def init_process(self) -> None:
        """Start, after the fork."""
        # Until gunicorn installs its handlers, the ones inherited from the master process would swallow a SIGTERM.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # With autogroup, Linux divides processors between sessions first. Without own sessions, all API processes
        # together would get as much as one PostgreSQL backend.
        os.setsid()
        gevent.get_hub().print_exception = logs.log_uncaught
        # Gunicorn reads settings for each request, each through two methods (0.94 µs; an attribute takes 0.09 µs).
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        super().init_process()

    def patch(self) -> None:
        """Make blocking calls of this process yield to its other greenlets; called after the fork."""
        with without_gevent_plugins():
            super().patch()
        from ava.store.engine import timeouts

        timeouts.install_for_greenlets()
        sys.setswitchinterval(_SWITCH_SECONDS)
        sys.setrecursionlimit(_MAX_FRAMES)

        # Create it after the patch, because it holds locks.
        self._pending = PendingBodies()

    def load_wsgi(self) -> None:
        # A collection that scanned permanent objects would stop all requests for up to 0.1 s for each large body.
        with without_collections():
            super().load_wsgi()
            gc.collect()
        gc.set_threshold(_YOUNG_OBJECTS, 10, 10)

    def run(self) -> None:
        """Serve until the process stops. Gunicorn's own `run` accepts one connection per iteration."""
        # Each listener has its own queue, so that health checks do not wait behind requests to be accepted.
        sizes = (self.worker_connections, _HEALTH_CONNECTIONS)
        servers = [self._listen(listener, size) for listener, size in zip(self.sockets, sizes, strict=False)]
        gevent.spawn(self._record_heartbeats)
        while self.alive:
            self.notify()
            self._is_stopping.wait(1.0)
        self._end(servers)

    def _record_heartbeats(self) -> None:
        """Record every second that this process can receive the heartbeats of pulled runs."""
        while not self._is_stopping.wait(1.0):
            try:
                self.wsgi.extensions["ava"].runs.record_api_heartbeat()
            except AvaError:
                # The database is unreachable, so this process can receive nothing.
                continue
            except Exception:
                self.log.exception("The heartbeat of this API process was not recorded in the database")

    def _end(self, servers: list[ConnectionServer]) -> None:
        for server in servers:
            server.close()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while any(len(server.pool) for server in servers) and time.monotonic() < deadline:
            self.notify()
            gevent.sleep(0.1)
        for server in servers:
            server.stop(timeout=1)

    def _listen(self, listener: Any, max_connections: int) -> ConnectionServer:
        listener.setblocking(1)
        server = ConnectionServer(listener, handle=partial(self.handle, listener), spawn=Pool(max_connections))
        server.start()
        return server

    def notify(self) -> None:
        """Send the heartbeat to the master, once a second; stop the server if its parent process has ended."""
        super().notify()
        if _is_gone(self.app._settings.parent_pid):
            os.kill(self.ppid, signal.SIGTERM)
        if not self.alive:
            self._close_idle()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop: current requests are completed, and idle connections are closed."""
        super().handle_exit(sig, frame)
        gevent.spawn(self._drain_connections)

    def _drain_connections(self) -> None:
        if (app := getattr(self, "wsgi", None)) is not None:
            # Watchers get the current job; their clients reconnect to another process.
            app.extensions["ava"].watches.close()
        self._close_idle()
        self._is_stopping.set()

    def _close_idle(self) -> None:
        self._close_waiting(list(self._idle))

    def _close_waiting(self, greenlets: Iterable[Any]) -> None:
        for greenlet in greenlets:
            with contextlib.suppress(OSError, KeyError):
                # The greenlet still serves received data, then reads the end of the stream. Shut down the kernel's
                # socket: gevent's would make the greenlet fail instead.
                self._connections[greenlet]._sock.shutdown(socket.SHUT_RD)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        current = gevent.getcurrent()
        self._connections[current] = connection = _ClientConnection(client, idle_seconds=self.cfg.keepalive)
        if (excess := len(self._connections) - len(self._closing) - _BUSY_CONNECTIONS) > 0:
            oldest = list(itertools.islice(self._idle, excess))
            for greenlet in oldest:
                del self._idle[greenlet]
            self._closing.update(oldest)
            self._close_waiting(oldest)
        try:
            super().handle(listener, connection, addr)
        finally:
            self._connections.pop(current, None)
            self._closing.discard(current)

    @contextlib.contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Wait for a request; the wait is bounded and ends when the process stops."""
        current = gevent.getcurrent()
        connection = self._connections[current]
        self._idle[current] = None
        connection.begin_request()
        try:
            yield
        finally:
            connection.end_request()
            self._idle.pop(current, None)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Serve one request; receiving its body and sending its response have time limits."""
        sock.settimeout(_SEND_SECONDS)
        req.body = TimedBody(req.body, self._pending, address=str(addr[0]) if isinstance(addr, tuple) else "")
        if len(self.sockets) > 1 and listener_name == self.sockets[1].getsockname() and req.path not in _HEALTH_PATHS:
            req.path = _NO_PATH
        try:
            with sock.buffered_head():
                super().handle_request(listener_name, req, sock, addr)
        except TimeoutError as error:
            # EPIPE, because gunicorn logs other errors with a traceback, which would be noise for a slow client.
            raise BrokenPipeError(errno.EPIPE, "the client took too long") from error
        finally:
            # A connection that is closed while its client still sends is reset, and the response is lost.
            req.body.drain()
            sock.settimeout(None)

    def handle_error(self, _req: Any, client: Any, _addr: Any, exc: BaseException) -> None:
        """Refuse an invalid HTTP request with the contract's JSON; gunicorn would respond with HTML."""
        status, sentence = _refusal(exc)
        request_id = ids.encode("req", ids.new_uuid())
        if status == 500:
            self.log.error("Request could not be handled (%s)", request_id, exc_info=exc)
        else:
            self.log.info("Request refused with %s (%s): %s", status, request_id, type(exc).__name__)
        # Without a valid request, no Host header can begin the URL.
        docs_url = f"{self.app._settings.public_url}{self.app._settings.docs_url}"
        body = error_body(code_of(status), sentence, request_id=request_id, docs_url=docs_url)
        with contextlib.suppress(OSError):
            client.settimeout(1)
            client.sendall(_response(status, body, request_id))
            client.shutdown(socket.SHUT_WR)
            _drain(client)


class _ClientConnection:
    """A client's socket on which a request's line and headers must arrive in bounded time."""

    def __init__(self, client: Any, *, idle_seconds: float) -> None:
        """`idle_seconds`: how long it may wait for a request's first byte."""
        self._client = client
        self._idle_seconds = idle_seconds
        self._is_waiting = False
        self._deadline: float | None = None
        self._head = RequestHead()
        #: The response's head until it is sent: b"" before it is written, None if no head is expected.
        self._response_head: bytes | None = None

    def begin_request(self) -> None:
        """Bound the wait for a request, then the time that its line and headers take."""
        self._is_waiting, self._deadline, self._head = True, None, RequestHead()

    def end_request(self) -> None:
        """Remove all time limits."""
        self._is_waiting = False
        with contextlib.suppress(OSError):
            self._client.settimeout(None)

    def recv(self, size: int) -> bytes:
        """Return the next bytes for the parser; b"", as at the end of a connection, after a timeout.

        Raises `LimitRequestHeaders` if a head exceeds its limits.
        """
        # The parser asks for up to 1 MiB of a body and copies the unread rest at each read.
        size = min(size, PIECE_BYTES)
        if not self._is_waiting:
            received: bytes = self._client.recv(size)
            return received
        while received := self._receive_in_time(size):
            if ready := self._head.add(received):
                return ready
            # A read of bytes that have already arrived does not yield.
            gevent.sleep(0)
        return self._head.take()

    @contextlib.contextmanager
    def buffered_head(self) -> Iterator[None]:
        """Delay the response's head, which the block sends first, to send it with the first part of the body."""
        self._response_head = b""
        try:
            yield
        finally:
            self._send_head()

    def sendall(self, data: bytes) -> None:
        """Send data after the delayed head, or delay the data if it is the head."""
        if self._response_head == b"":
            self._response_head = data
        elif self._response_head and len(data) <= _JOINED_BYTES:
            head, self._response_head = self._response_head, None
            self._client.sendall(head + data)
        else:
            self._send_head()
            self._client.sendall(data)

    def sendfile(self, *arguments: Any, **options: Any) -> Any:
        self._send_head()
        return self._client.sendfile(*arguments, **options)

    def _send_head(self) -> None:
        head, self._response_head = self._response_head, None
        if head:
            self._client.sendall(head)

    def _receive_in_time(self, size: int) -> bytes:
        seconds = self._idle_seconds if self._deadline is None else self._deadline - time.monotonic()
        if seconds <= 0:
            return b""
        self._client.settimeout(seconds)
        try:
            received: bytes = self._client.recv(size)
        except TimeoutError:
            return b""
        if self._deadline is None:
            self._deadline = time.monotonic() + _HEADER_SECONDS
        return received

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def _drain(client: Any) -> None:
    """Read until the client closes the connection, within bounds.

    Read only a few times a second: a client that keeps sending would otherwise wake this process for each piece.
    """
    deadline, left = time.monotonic() + 1, 2**20
    while time.monotonic() < deadline and left > 0:
        gevent.sleep(_DRAIN_PAUSE_SECONDS)
        # The kernel drops the bytes instead of copying them (tcp(7), MSG_TRUNC).
        if not (read := client.recv_into(_dropped, 0, socket.MSG_TRUNC)):
            return
        left -= read


def _refusal(exc: BaseException) -> tuple[int, str]:
    if isinstance(exc, http_errors.LimitRequestHeaders):
        sentence = (
            f"The headers are too many or too large; at most {limits.HEADER_FIELDS.value} of "
            f"{limits.HEADER_FIELD_BYTES.value:,} bytes are accepted."
        )
        return 431, exceeded_limit(exc).message(sentence)
    for kind, status, sentence in _STATUSES:
        if isinstance(exc, kind):
            return status, sentence
    return 500, "Internal error; the server's log has the details."


def _response(status: int, json_body: str, request_id: str) -> bytes:
    body = json_body.encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Bad Request')}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nx-request-id: {request_id}\r\n\r\n"
    )
    return head.encode() + body


def _is_gone(pid: int) -> bool:
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
