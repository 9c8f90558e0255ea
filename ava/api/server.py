"""The API's processes: gunicorn, with a greenlet for each connection, in front of the Flask application.

Nothing is patched at import, and nothing in the process that starts the others: each answering process patches
itself after its fork (`ava.api.greenlet_worker`), and imports the application only then.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from ava import logs, open_files, tracing
from ava.errors import PortInUse, SettingsError
from ava.settings import Settings
from ava.store.engine import schema

__all__ = ["run"]

#: Connections that one process holds open at once: a thousand watchers and then some.
_CONNECTIONS = 4_000
#: Files that it has open beside them: connections to servers, logs, modules being read.
_OTHER_FILES = 256
#: Seconds that a connection may be idle, or take to send a request's line and headers.
_IDLE_SECONDS = 60
#: Seconds that requests get to end once the process was told to stop.
_GRACEFUL_SECONDS = 10
#: Seconds without a sign of life after which a process is killed: one that is stuck, not one that is busy.
_STUCK_SECONDS = 60
_MEMORY_FOLDER = "/dev/shm"  # noqa: S108 - gunicorn makes its own unguessable files there


def run(settings: Settings, host: str, port: int) -> None:
    """Answer HTTP requests until told to stop (SIGTERM, SIGINT); returns by SystemExit.

    Raises `SettingsError` without a secret, `PortInUse`, and what `ava.store.engine.schema.check` raises.
    """
    if not settings.internal_secrets:
        raise SettingsError("AVA_INTERNAL_SECRET", "it is not set; make one up, as with `openssl rand -hex 24`")
    logs.configure(settings, "api")
    tracing.warn_if_unusable(settings)
    schema.check(settings)
    listener = _listen(host, port)
    # What is usual, 1,024, is fewer than the watchers that one process holds.
    open_files.allow(_CONNECTIONS + _OTHER_FILES)
    _Server(settings, listener).run()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"Port {port} of {host} is in use; choose another with --port.") from error
        raise PortInUse(f"{host}:{port} cannot be listened on: {error.strerror}.") from error
    return listener


class _Logger(Logger):  # type: ignore[misc]
    """Gunicorn's log lines, in the form and at the place of all our others."""

    def setup(self, cfg: Any) -> None:
        """Leave the writing to the root logger."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class _Server(BaseApplication):  # type: ignore[misc]
    """Gunicorn, configured by us alone: no file, no argument and no variable of its own is read."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        super().__init__()

    def load_config(self) -> None:
        """Gunicorn's settings; its manual has them under these names ("Settings")."""
        for name, value in self._options().items():
            self.cfg.set(name, value)

    def _options(self) -> dict[str, Any]:
        return {
            "bind": f"fd://{self._listener.fileno()}",
            "workers": self._settings.api_processes,
            "worker_class": "ava.api.greenlet_worker.GreenletWorker",
            "worker_connections": _CONNECTIONS,
            "keepalive": _IDLE_SECONDS,
            "timeout": _STUCK_SECONDS,
            "graceful_timeout": _GRACEFUL_SECONDS,
            "limit_request_line": 8190,
            "limit_request_fields": 100,
            "limit_request_field_size": 8190,
            "loglevel": self._settings.log_level.lower(),
            "control_socket_disable": True,
            # The sign of life is a file's time; a busy disk could hold it up.
            "worker_tmp_dir": _MEMORY_FOLDER if os.path.isdir(_MEMORY_FOLDER) else None,
            "logger_class": _Logger,
            "worker_exit": lambda _server, _worker: tracing.stop(),
            "proc_name": "ava api",
        }

    def load(self) -> Callable[..., Any]:
        """Build the application; gunicorn calls this in each process, after the patching."""
        from ava.api.app import make_app

        tracing.start(self._settings, "api")
        return make_app(self._settings)
