"""The API's processes: gunicorn, with a greenlet per connection, serves the Flask application.

Nothing is patched at import or in gunicorn's master process: each gunicorn worker patches itself after its fork
(`ava.api.server.greenlet_worker`), and imports the application only then.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from ava.domain.limits import table as limits
from ava.errors import AvaError, PortInUse, SettingsError, StartError
from ava.process.startup import raise_open_files_limit, without_collections
from ava.services.sign_in import require_usable
from ava.settings import Settings
from ava.store import installation
from ava.store.engine import schema
from ava.telemetry import logs, tracing

#: Max open connections of one gunicorn worker: a thousand watchers and a reserve.
_CONNECTIONS = 4_000
#: Other files that it opens: connections to servers, logs, modules during import.
_OTHER_FILES = 256
#: Seconds that a connection may wait for its next request.
_IDLE_SECONDS = 60
#: Seconds for which the kernel delays accepting a connection until its first byte arrives.
_SILENT_SECONDS = 5
#: Seconds that requests may still take when the process stops.
_GRACEFUL_SECONDS = 10
#: Seconds without a heartbeat after which the master kills a gunicorn worker: it is stuck, not busy.
_STUCK_SECONDS = 60
#: Seconds to wait for the broker to say which installation owns it. An unreachable broker stops no process.
_BROKER_SECONDS = 4.0
_MEMORY_FOLDER = "/dev/shm"  # noqa: S108 - gunicorn makes its own unguessable files there
#: `M_MMAP_THRESHOLD` of glibc's malloc.h.
_MMAP_THRESHOLD = -3
#: Min bytes of a block that malloc maps individually and returns to the system when it is freed.
_LARGE_BYTES = 2**20


def run(settings: Settings, host: str, port: int) -> None:
    """Serve HTTP requests until SIGTERM or SIGINT; returns by SystemExit.

    Raises `SettingsError` if there is no secret, `PortInUse`, `StartError` if the broker belongs to another
    installation, and
    the errors of `ava.store.engine.schema.check`.
    """
    if not settings.internal_secrets:
        raise SettingsError("AVA_INTERNAL_SECRET", "it is not set; generate one with `openssl rand -hex 24`")
    require_usable(settings)
    logs.configure(settings, "api")
    tracing.warn_if_unusable(settings)
    schema.check(settings)
    _require_own_broker(settings)
    # Gunicorn would mount the application below this path.
    os.environ.pop("SCRIPT_NAME", None)
    listeners = [_listen(host, port)]
    if settings.health_port:
        listeners.append(_listen(settings.health_host, settings.health_port))
    # The usual limit, 1,024, is less than the connections of one gunicorn worker.
    raise_open_files_limit(_CONNECTIONS + _OTHER_FILES)
    return_large_blocks()
    _Server(settings, listeners).run()


def _require_own_broker(settings: Settings) -> None:
    """Raise `StartError` if the broker belongs to another installation.

    A child process checks it, because it imports modules that must not be loaded before a gunicorn worker patches
    itself.
    """
    own_id = installation.read_id(settings)
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        _report_refusal(settings, own_id, writer)
    os.close(writer)
    with open(reader, "rb") as report:
        has_answered, _, _ = select.select([report], [], [], _BROKER_SECONDS)
        if not has_answered:
            os.kill(pid, signal.SIGKILL)
        refusal = report.read().decode()
    os.waitpid(pid, 0)
    if refusal:
        raise StartError(refusal)


def _report_refusal(settings: Settings, own_id: str, writer: int) -> NoReturn:
    """Write why the broker may not be used, or nothing, and end this process."""
    try:
        with without_collections():
            from ava.broker import connectivity

            connectivity.require_own(settings, own_id)
    except AvaError as refusal:
        os.write(writer, str(refusal).encode())
    finally:
        os._exit(0)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Silent connections then cost the processes nothing, and no request waits behind them.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _SILENT_SECONDS)
        listener.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"Port {port} of {host} is in use; choose another with --port.") from error
        raise PortInUse(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
    return listener


class _Logger(Logger):  # type: ignore[misc]
    """Gunicorn's logger, with the log format of all our processes."""

    def setup(self, cfg: Any) -> None:
        """Pass records to the root logger."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class _Server(BaseApplication):  # type: ignore[misc]
    """Gunicorn, configured only by these options: it reads no file, argument or variable."""

    def __init__(self, settings: Settings, listeners: list[socket.socket]) -> None:
        """`listeners`: the socket for requests, then the one for health checks, if any."""
        self._settings = settings
        self._listeners = listeners
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's settings, under the names of its manual ("Settings")."""
        for name, value in self._options().items():
            self.cfg.set(name, value)

    def _options(self) -> dict[str, Any]:
        return {
            "bind": [f"fd://{listener.fileno()}" for listener in self._listeners],
            "workers": self._settings.api_processes,
            "worker_class": "ava.api.server.greenlet_worker.GreenletWorker",
            "worker_connections": _CONNECTIONS,
            "keepalive": _IDLE_SECONDS,
            "timeout": _STUCK_SECONDS,
            "graceful_timeout": _GRACEFUL_SECONDS,
            "limit_request_line": 8190,
            "limit_request_fields": limits.HEADER_FIELDS.value,
            "limit_request_field_size": limits.HEADER_FIELD_BYTES.value,
            # By default, gunicorn would trust the headers of proxies on this machine and of addresses in
            # FORWARDED_ALLOW_IPS.
            "forwarded_allow_ips": ",".join(self._settings.forwarded_allow_ips),
            "loglevel": self._settings.log_level.lower(),
            "control_socket_disable": True,
            # The heartbeat is a file's timestamp; a busy disk could delay it.
            "worker_tmp_dir": _MEMORY_FOLDER if os.access(_MEMORY_FOLDER, os.W_OK) else None,
            "logger_class": _Logger,
            "worker_exit": _end_process,
            "proc_name": "ava api",
        }

    def load(self) -> Callable[..., Any]:
        """Build the application; each gunicorn worker calls this after it has patched itself."""
        from ava.api.app import make_app

        tracing.start(self._settings, "api")
        return make_app(self._settings)


def _end_process(_server: Any, _worker: Any) -> None:
    """End a gunicorn worker, which is about to end by SystemExit, without destroying its objects one by one.

    Python's own exit would first traverse all objects several times: 0.2 s of processor time.
    """
    tracing.stop()
    if isinstance(ended := sys.exception(), SystemExit) and isinstance(ended.code, int):
        logging.shutdown()
        os._exit(ended.code)


def return_large_blocks() -> None:
    """Have this process and its children return a large block to the system when it is freed.

    glibc takes blocks up to the largest size that it has freed, max 32 MiB, from its heaps (mallopt(3),
    "M_MMAP_THRESHOLD"). Pieces of later requests then stay between them, and the heaps grow with every hundred large
    bodies. Does nothing with a C library without this setting.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
