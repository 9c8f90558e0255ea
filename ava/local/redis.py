"""Redis for one machine: on 127.0.0.1 with its own port and a generated password, in memory only.

Its data may be lost: it contains ids of jobs, and the jobs are in PostgreSQL.
"""

from __future__ import annotations

import secrets
import signal
import socket
from dataclasses import dataclass, field

from ava.local.account import Account
from ava.local.program import ChildProcess, Program


@dataclass(frozen=True, kw_only=True)
class Redis:
    server: str
    #: None: this process's.
    account: Account | None
    port: int
    password: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    databases: int = 16

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Do nothing, because Redis stores no data."""

    def program(self) -> Program:
        """Return the program. It reads its settings from stdin, so that no process list shows the password."""
        return Program(
            name="redis",
            argv=(self.server, "-"),
            environ={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            account=self.account,
            stdin=self._settings(),
            death_signal=signal.SIGKILL,
        )

    def is_ready(self, child: ChildProcess) -> bool:  # noqa: ARG002 - all servers have the same interface
        """Return True if it accepts the password."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                return connection.makefile("rb").read(12) == b"+OK\r\n+PONG\r\n"
        except OSError:
            return False

    def _settings(self) -> str:
        settings = {
            "bind": "127.0.0.1",
            "port": self.port,
            "requirepass": self.password,
            "databases": self.databases,
            "save": '""',
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "dir": "/",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())
