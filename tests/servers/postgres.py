"""PostgreSQL for tests: the embedded one, told not to wait for the disk."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2

from ava.cli.embedded import account, programs
from ava.cli.embedded.postgres import Postgres
from ava.cli.embedded.start import free_port
from tests.servers.server import Server, account_folder, private_folder

_OPTIONS = {"fsync": "off", "full_page_writes": "off", "max_connections": "300", "max_wal_size": "4GB"}
_numbers = itertools.count(1)


@contextmanager
def running_postgres() -> Iterator[Server]:
    """A PostgreSQL server with one empty database, `ava`."""
    with private_folder() as folder:
        server = Server(_postgres(folder), folder)
        try:
            yield server
        finally:
            server.kill()


def _postgres(folder: Path) -> Postgres:
    owner = account.for_servers(folder / "postgres")
    return Postgres(
        folder=account_folder(folder, "postgres", owner.uid if owner else None),
        programs=programs.find_postgres(owner),
        account=owner,
        port=free_port(),
        password="of-the-tests",
        options=_OPTIONS,
    )


class Databases:
    """Fresh databases on one server, each a copy of its database `ava`, which has been migrated once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._admin = psycopg2.connect(self._url("postgres"))
        self._admin.autocommit = True
        # A copy needs its source to itself; whoever migrated it may still hold a pooled connection.
        self._run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'ava'")

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of a new database, dropped afterwards whoever is still connected."""
        name = f"test_{next(_numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE ava")
        try:
            yield self._url(name)
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        """Let go of the server."""
        self._admin.close()

    def _url(self, name: str) -> str:
        return urlsplit(self._server.url)._replace(path=f"/{name}").geturl()

    def _run(self, statement: str) -> None:
        with self._admin.cursor() as cursor:
            cursor.execute(statement)
