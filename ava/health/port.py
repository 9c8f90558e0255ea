"""`/livez`, `/readyz` and `/metrics` on a port, for processes that answer no other requests."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ava.errors import PortInUse
from ava.health.readiness import Readiness
from ava.settings import Settings
from ava.store.engine.database import Database

__all__ = ["serving"]

_log = logging.getLogger(__name__)
#: Seconds that a client may take over its request.
_SECONDS = 5


@contextmanager
def serving(settings: Settings) -> Iterator[None]:
    """Answer on AVA_HEALTH_PORT, where it is set, until left. Raises `PortInUse`."""
    if not settings.health_port:
        yield
        return
    database = Database(settings.database_url, name="health", pool_size=1, statement_seconds=5)
    server = _listen(settings, Readiness(database, settings))
    owner = os.getpid()
    # What is forked from here must neither hold the port nor touch the connection.
    os.register_at_fork(after_in_child=server.socket.close)
    os.register_at_fork(after_in_child=database.forget_connections)
    threading.Thread(target=server.serve_forever, name="ava-health", daemon=True).start()
    try:
        yield
    finally:
        if os.getpid() == owner:
            server.shutdown()
            server.server_close()
            database.close()


def _listen(settings: Settings, readiness: Readiness) -> ThreadingHTTPServer:
    place = (settings.health_host, settings.health_port)
    try:
        return _ProbeServer(place, _handler(readiness))
    except OSError as error:
        raise PortInUse(f"AVA_HEALTH_PORT: {place[0]}:{place[1]} cannot be listened on: {error.strerror}.") from error


class _ProbeServer(ThreadingHTTPServer):
    """A server whose threads hold nobody up."""

    daemon_threads = True


def _handler(readiness: Readiness) -> type[BaseHTTPRequestHandler]:
    class ProbeHandler(BaseHTTPRequestHandler):
        """The three routes."""

        timeout = _SECONDS
        server_version = "ava"
        sys_version = ""

        def do_GET(self) -> None:
            """Answer."""
            status, kind, body = _answer(self.path, readiness)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: whoever asks every few seconds is no news."""

    return ProbeHandler


def _answer(path: str, readiness: Readiness) -> tuple[int, str, bytes]:
    if path == "/livez":
        return 200, "application/json", b'{"status":"ok"}\n'
    if path == "/metrics":
        # Imported here, for it must come after the folder that is shared.
        from ava.metrics import counters

        return 200, "text/plain; version=0.0.4; charset=utf-8", counters.expose()
    if path == "/readyz":
        return _ready(readiness)
    return 404, "application/json", b'{"error":{"code":"resource_not_found","message":"/livez, /readyz or /metrics"}}\n'


def _ready(readiness: Readiness) -> tuple[int, str, bytes]:
    """Whether this process can do its work: it needs its broker as well as its database."""
    report = readiness.report()
    checks = {check.name: {"ok": check.is_ok, "reason": check.reason} for check in report.checks}
    body = json.dumps({"status": report.status, "checks": checks}).encode() + b"\n"
    return 200 if report.status == "ok" else 503, "application/json", body
