"""PostgreSQL and Redis for one machine, on 127.0.0.1 with ports of their own and passwords.

PostgreSQL has persistent data. Redis keeps its data in memory: it contains ids of jobs, and the jobs are in PostgreSQL.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ava.errors import DataDirectoryError, ServerFailed
from ava.local.account import Account
from ava.local.output import last_line
from ava.local.program import ChildProcess, Program
from ava.local.programs import PostgresPrograms

_USER = "ava"
_DATABASE = "ava"
#: The server logs no statements, parameters or statement errors, because they contain payloads. This package logs each
#: error with its SQLSTATE.
_LOGGING = {
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
_ENVIRON = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, kw_only=True)
class Postgres:
    #: Its folder, owned by `account`; the data directory proper is `data` inside it.
    folder: Path
    programs: PostgresPrograms
    #: None: this process's.
    account: Account | None
    port: int
    #: The superuser's.
    password: str = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The `DATABASE_URL` of its superuser."""
        return self.url_of(_USER, self.password)

    def url_of(self, role: str, password: str) -> str:
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port}/{_DATABASE}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def prepare(self) -> None:
        """Create the data directory if necessary, and remove the lock file of a crashed server.

        Raise `DataDirectoryError` for data of another major version, `ServerFailed` if the data cannot be created.
        """
        if not self.data.exists():
            self._create_data()
        self._check_version()
        self._clear_stale_lock()

    def program(self) -> Program:
        """Return the program. SIGINT stops it cleanly; after SIGQUIT it recovers at its next start."""
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        options |= {**_LOGGING, **self.options}
        return Program(
            name="postgres",
            argv=(self.programs.postgres, "-D", str(self.data), *_as_arguments(options)),
            environ=_ENVIRON,
            account=self.account,
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGQUIT,
            stop_seconds=30,
        )

    def is_ready(self, child: ChildProcess) -> bool:
        """Return True if `child` accepts connections according to its lock file, which `pg_ctl` also reads."""
        lines = self._lock_lines()
        return len(lines) >= 8 and lines[0] == str(child.pid) and lines[7].strip() == "ready"

    def _create_data(self) -> None:
        unfinished = self.folder / "data.unfinished"
        password_file = self.folder / "password"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._write_for_account(password_file, self.password)
        try:
            self._run(
                *(self.programs.initdb, "-D", str(unfinished), f"--username={_USER}", f"--pwfile={password_file}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"),
            )
            self._run(
                self.programs.postgres,
                "--single",
                "-D",
                str(unfinished),
                "postgres",
                stdin=f"CREATE DATABASE {_DATABASE}\n",
            )
        finally:
            password_file.unlink()
        unfinished.rename(self.data)

    def _run(self, *argv: str, stdin: str = "") -> None:
        program = Program(name="initdb", argv=argv, environ=_ENVIRON, account=self.account, stdin=stdin)
        with tempfile.TemporaryFile() as output:
            child = ChildProcess.start(program, output)
            exit_code = child.process.wait()
            output.seek(0)
            if exit_code != 0:
                reason = last_line(output.read().decode(errors="replace"))
                raise ServerFailed(f"PostgreSQL's data directory cannot be created: {reason}.")

    def _write_for_account(self, path: Path, content: str) -> None:
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(content)
        if self.account:
            shutil.chown(path, self.account.uid, self.account.gid)

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != str(self.programs.major):
            raise DataDirectoryError(
                f"{self.data} was made by PostgreSQL {found}, and the programs here are PostgreSQL "
                f"{self.programs.major}; install PostgreSQL {found}, or give another --data-dir."
            )

    def _clear_stale_lock(self) -> None:
        """Remove a crashed server's lock file; its process id may now belong to another process.

        This process has locked the whole data directory, so a running server must be about to end. Its sessions may end
        later, and PostgreSQL does not start while any session uses the shared memory.
        """
        deadline = time.monotonic() + 20
        while self._lock_lines() and (pid := self._server_process()):
            if time.monotonic() > deadline:
                raise ServerFailed(f"Another PostgreSQL (process {pid}) uses {self.data}; stop it first.")
            time.sleep(0.05)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _lock_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _server_process(self) -> int | None:
        """Return the id of a process in the data directory, such as the server or a session."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.cwd() == str(self.data) and process.name() == Path(self.programs.postgres).name:
                    return int(process.pid)
        return None


def _as_arguments(options: Mapping[str, object]) -> list[str]:
    return [part for name, value in options.items() for part in ("-c", f"{name}={value}")]


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
