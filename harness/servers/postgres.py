"""PostgreSQL for tests: the embedded one, without `fsync`."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
from sqlalchemy import NullPool, create_engine

from ava.local import account, programs
from ava.local.program import Program
from ava.local.servers import Postgres
from ava.local.start import free_port
from ava.store.engine import session_settings
from ava.store.engine.database import driver_url
from harness.servers.pgbouncer import PgBouncer, behind
from harness.servers.server import Server, account_folder, private_folder

_OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "max_wal_size": "1GB",
    # As files of its folder, which is removed; segments in /dev/shm would outlive a server that is killed.
    "dynamic_shared_memory_type": "mmap",
}
_PASSWORD = "of-the-tests"
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class _Postgres(Postgres):
    #: Variables of its environment, on top.
    environ: Mapping[str, str] = field(default_factory=dict)

    def program(self) -> Program:
        program = super().program()
        return replace(program, environ={**(program.environ or {}), **self.environ})


@contextmanager
def running_postgres(
    options: Mapping[str, str] | None = None,
    *,
    size_mib: int | None = None,
    environ: Mapping[str, str] | None = None,
    in_memory: bool = False,
) -> Iterator[Server]:
    """A PostgreSQL server with one empty database, `ava`; with `size_mib` on a disk of its own (needs root).

    `environ`: variables of its environment, on top. `in_memory`: its files are in memory if there is enough of it,
    which makes the copy of a database quicker.
    """
    with private_folder(in_memory=in_memory) as home, _disk(home, size_mib) as folder:
        # Its log is outside, because its disk may be full.
        server = Server(_postgres(folder, options or {}, environ or {}), home)
        try:
            _make_sessions_cheap(server)
            yield server
        finally:
            server.kill()


def _make_sessions_cheap(server: Server) -> None:
    """Hash the password once instead of 4,096 times, which takes 3 ms of each of the thousands of sessions."""
    with closing(psycopg2.connect(server.url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SET scram_iterations = 1")
        cursor.execute("ALTER ROLE CURRENT_USER PASSWORD %s", (_PASSWORD,))


@contextmanager
def _disk(home: Path, size_mib: int | None) -> Iterator[Path]:
    """A small disk in a folder; the folder itself if `size_mib` is None."""
    if size_mib is None:
        yield home
        return
    folder = home / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0711", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _postgres(folder: Path, options: Mapping[str, str], environ: Mapping[str, str]) -> Postgres:
    owner = account.for_servers(folder / "postgres")
    return _Postgres(
        folder=account_folder(folder, "postgres", owner.uid if owner else None),
        programs=programs.find_postgres(owner),
        account=owner,
        port=free_port(),
        password=_PASSWORD,
        options=_OPTIONS | dict(options),
        environ=environ,
    )


class Databases:
    """Fresh databases on one server, each a copy of its migrated database `ava` or of a template made from that."""

    def __init__(self, server: Server, pooler: PgBouncer | None = None) -> None:
        """`pooler`: in front of the server."""
        self._server = server
        self._pooler = pooler
        self._admin = psycopg2.connect(self._url("postgres"))
        self._admin.autocommit = True
        #: What `ava db upgrade` makes the defaults of the role behind a pooler, as `name=value`.
        self._role_defaults = self._read_role_defaults() if pooler else []
        self._templates: set[str] = set()
        # A database can be copied only while no session uses it; the migration may have left a pooled connection.
        self._run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'ava'")

    def template(self, name: str, fill: Callable[[str], None]) -> str:
        """Returns the name of a template, which `fill` gets the URL of once to write into it."""
        if name not in self._templates:
            self._run(f"CREATE DATABASE {name} TEMPLATE ava STRATEGY FILE_COPY")
            fill(self._url(name))
            self._run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            self._templates.add(name)
        return name

    @contextmanager
    def fresh(self, *, is_pooled: bool = False, template: str = "ava") -> Iterator[str]:
        """The URL of a new database, dropped afterwards even if sessions are still connected.

        `is_pooled`: the system behind it goes through the pooler, if there is one.
        """
        name = f"test_{next(_numbers)}"
        # The other strategy, which writes every block to the log, takes twice the processor's time.
        self._run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        try:
            if is_pooled and self._pooler:
                for default in self._role_defaults:
                    setting, _, value = default.partition("=")
                    self._run(f"ALTER ROLE CURRENT_USER IN DATABASE {name} SET {setting} = '{value}'")
                with behind(self._pooler, self._url(name)):
                    yield self._url(name)
            else:
                yield self._url(name)
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def _read_role_defaults(self) -> list[str]:
        engine = create_engine(driver_url(self._url("ava")), poolclass=NullPool)
        with engine.connect() as connection:
            session_settings.set_role_defaults(connection)
            statement = "SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_database AS d ON d.oid = setdatabase"
            return list(connection.exec_driver_sql(f"{statement} WHERE datname = 'ava'").scalars())

    def close(self) -> None:
        """Close the connection to the server."""
        self._admin.close()

    def _url(self, name: str) -> str:
        return urlsplit(self._server.url)._replace(path=f"/{name}").geturl()

    def _run(self, statement: str) -> None:
        with self._admin.cursor() as cursor:
            cursor.execute(statement)
