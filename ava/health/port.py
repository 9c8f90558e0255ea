"""Serve `/livez`, `/readyz` and `/metrics` on a port, for processes that serve no other HTTP."""

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

_log = logging.getLogger(__name__)
_REQUEST_SECONDS = 5


@contextmanager
def serving(settings: Settings) -> Iterator[None]:
    """Serve AVA_HEALTH_PORT, if it is set, until exit. Raises `PortInUse`."""
    if not settings.health_port:
        yield
        return
    database = Database.of(settings, name="health", pool_size=1, statement_seconds=5)
    server = _listen(settings, Readiness(database, settings))
    owner = os.getpid()
    # A forked process must neither hold the port nor use the connection.
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
    address = (settings.health_host, settings.health_port)
    try:
        return _ProbeServer(address, _request_handler(readiness))
    except OSError as error:
        raise PortInUse(
            f"AVA_HEALTH_PORT: {address[0]}:{address[1]} cannot be listened on: {error.strerror}."
        ) from error


class _ProbeServer(ThreadingHTTPServer):
    """A server that does not delay the end of the process."""

    daemon_threads = True


def _request_handler(readiness: Readiness) -> type[BaseHTTPRequestHandler]:
    class ProbeHandler(BaseHTTPRequestHandler):
        """Serves the three routes."""

        timeout = _REQUEST_SECONDS
        server_version = "ava"
        sys_version = ""

        def do_GET(self) -> None:
            status, content_type, body = _respond(self.path, readiness)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing, because probes come every few seconds."""

    return ProbeHandler


def _respond(path: str, readiness: Readiness) -> tuple[int, str, bytes]:
    if path == "/livez":
        return 200, "application/json", b'{"status":"ok"}\n'
    if path == "/metrics":
        # Imported here, because PROMETHEUS_MULTIPROC_DIR must be set first.
        from ava.metrics import counters

        return 200, "text/plain; version=0.0.4; charset=utf-8", counters.expose()
    if path == "/readyz":
        return _ready(readiness)
    return 404, "application/json", b'{"error":{"code":"resource_not_found","message":"/livez, /readyz or /metrics"}}\n'


def _ready(readiness: Readiness) -> tuple[int, str, bytes]:
    # Unlike the API, nodes and dispatchers need both database and broker. A sender has no broker check.
    report = readiness.report()
    checks = {check.name: {"ok": check.is_ok, "reason": check.reason} for check in report.checks}
    body = json.dumps({"status": report.status, "checks": checks}).encode() + b"\n"
    return 200 if report.status == "ok" else 503, "application/json", body
