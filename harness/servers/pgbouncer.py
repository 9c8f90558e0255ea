"""PgBouncer in transaction mode, in front of a PostgreSQL of the tests."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from ava.errors import ServerProgramMissing
from ava.local import account
from ava.local.program import ChildProcess, Program
from ava.local.start import free_port
from harness.polling import wait_until
from harness.servers.server import account_folder, private_folder

#: The poolers in front of databases, by the database's host, port and name.
_in_front: dict[str, PgBouncer] = {}


class PgBouncer:
    """A pooler of one server: a database of it has at most `pool_size` server connections."""

    def __init__(self, folder: Path, url: str, *, pool_size: int, mode: str) -> None:
        owner = account.for_servers(folder / "pgbouncer")
        home = account_folder(folder, "pgbouncer", owner.uid if owner else None)
        self._server = urlsplit(url)
        self.port = free_port()
        self._log = folder / "pgbouncer.log"
        path = home / "pgbouncer.ini"
        path.write_text(self._settings(pool_size, mode))
        if owner:
            os.chown(path, owner.uid, -1)
        self._program = Program(
            name="pgbouncer",
            argv=(program(), "-q", str(path)),
            environ={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            account=owner,
        )
        self._child: ChildProcess | None = None
        self.start()

    def url_of(self, url: str) -> str:
        """Returns the URL of a database of the server that leads through the pooler."""
        at = urlsplit(url).netloc.rpartition("@")[0]
        return urlsplit(url)._replace(netloc=f"{at}@127.0.0.1:{self.port}").geturl()

    def start(self) -> None:
        """Start it (again) and wait until it accepts connections."""
        with self._log.open("ab") as output:
            self._child = ChildProcess.start(self._program, output)
        wait_until(self._accepts, seconds=20, what="PgBouncer accepts connections")

    def kill(self) -> None:
        """Kill it; its connections on both sides are lost."""
        if self._child:
            self._child.kill()
            self._child = None

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _settings(self, pool_size: int, mode: str) -> str:
        server = self._server
        return (
            f"[databases]\n* = host={server.hostname} port={server.port} user={server.username} "
            f"password={server.password}\n"
            "[pgbouncer]\nlisten_addr = 127.0.0.1\nunix_socket_dir =\n"
            f"listen_port = {self.port}\nauth_type = any\npool_mode = {mode}\n"
            # docs/operate/availability.md names these.
            f"default_pool_size = {pool_size}\nmax_client_conn = 2000\nquery_wait_timeout = 5\n"
        )


def program() -> str:
    """Returns the path of the program. Raises `ServerProgramMissing`."""
    found = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if not found:
        raise ServerProgramMissing("PgBouncer is not installed; on Debian: apt-get install pgbouncer")
    return found


@contextmanager
def running_pgbouncer(url: str, *, pool_size: int = 20, mode: str = "transaction") -> Iterator[PgBouncer]:
    """A pooler in front of the server of a URL."""
    with private_folder() as folder:
        pooler = PgBouncer(folder, url, pool_size=pool_size, mode=mode)
        try:
            yield pooler
        finally:
            pooler.kill()


@contextmanager
def behind(pooler: PgBouncer, url: str) -> Iterator[None]:
    """Meanwhile `pool_url` leads through a pooler to the database of a URL."""
    _in_front[_address(url)] = pooler
    try:
        yield
    finally:
        del _in_front[_address(url)]


def pool_url(url: str) -> str:
    """Returns the DATABASE_POOL_URL beside a DATABASE_URL; empty if no pooler is in front of the database."""
    pooler = _in_front.get(_address(url))
    return "" if pooler is None else pooler.url_of(url)


def _address(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path
