"""Redis for one machine: on 127.0.0.1 and a port of its own, behind a made-up password, in memory alone.

Nothing is lost with it: the broker holds ids whose truth is in PostgreSQL.
"""

from __future__ import annotations

import secrets
import signal
import socket
from dataclasses import dataclass, field

from ava.local.account import Account
from ava.local.program import ChildProcess, Program

__all__ = ["Redis"]


@dataclass(frozen=True, kw_only=True)
class Redis:
    """One Redis server."""

    #: The program to run it with.
    server: str
    #: Who runs it; None is ourselves.
    account: Account | None
    #: The port on 127.0.0.1.
    port: int
    #: What its clients must say.
    password: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    #: How many numbered databases it has.
    databases: int = 16

    @property
    def url(self) -> str:
        """Where it is, as a `BROKER_URL`."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Nothing is kept, so there is nothing to prepare."""

    def program(self) -> Program:
        """What to run. Its settings come by standard input, so that no list of processes shows the password."""
        return Program(
            name="redis",
            argv=(self.server, "-"),
            environ={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            account=self.account,
            stdin=self._settings(),
            death_signal=signal.SIGKILL,
        )

    def is_ready(self, child: ChildProcess) -> bool:  # noqa: ARG002 - every server is asked in the same way
        """Whether it answers to our password."""
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
