"""The servers that both systems share, and the processes of a benchmark."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2

from ava.local import account, programs
from ava.local.program import ChildProcess, Program
from ava.local.servers import Postgres
from ava.local.start import free_port
from harness.servers.postgres import running_postgres
from harness.servers.rabbitmq import running_rabbitmq
from harness.servers.redis import running_redis
from harness.servers.server import Server, account_folder, private_folder
from harness.system import ROOT, System


class Database:
    """One database, and statements on it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True

    def value(self, statement: str, *parameters: Any) -> Any:
        """Return the first value of a statement's first row, None if there is none."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def run(self, statement: str, parameters: Mapping[str, Any]) -> None:
        """Run a statement with named parameters."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    def each(self, act: Callable[..., object], *arguments: Any) -> None:
        """Run a function of the driver that takes a cursor."""
        with self._connection.cursor() as cursor:
            act(cursor, *arguments)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Servers:
    """PostgreSQL with its durability on, Redis, and RabbitMQ."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._postgres = stack.enter_context(_durable_postgres())
        self._redis: Server | None = None
        self._numbers = itertools.count(1)
        self._rabbitmq: Any = None
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ava-bench-")))

    def database(self, name: str) -> Database:
        """Make a new, empty database."""
        admin = Database(urlsplit(self._postgres.url)._replace(path="/postgres").geturl())
        admin.value(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.value(f"CREATE DATABASE {name}")
        admin.close()
        return Database(urlsplit(self._postgres.url)._replace(path=f"/{name}").geturl())

    def broker(self, kind: str) -> str:
        """Return a URL of an unused database of Redis (`redis`), or of a new virtual host (`rabbitmq`)."""
        if kind == "redis":
            self._redis = self._redis or self._stack.enter_context(running_redis())
            return urlsplit(self._redis.url)._replace(path=f"/{next(self._numbers)}").geturl()
        self._rabbitmq = self._rabbitmq or self._stack.enter_context(running_rabbitmq())
        url: str = self._stack.enter_context(self._rabbitmq.virtual_host())
        return url


@contextmanager
def _durable_postgres() -> Iterator[Server]:
    with private_folder() as folder:
        owner = account.for_servers(folder / "postgres")
        postgres = Postgres(
            folder=account_folder(folder, "postgres", owner.uid if owner else None),
            programs=programs.find_postgres(owner),
            account=owner,
            port=free_port(),
            password="of-the-benchmark",
            options={"max_connections": "200", "max_wal_size": "8GB", "shared_buffers": "1GB"},
        )
        server = Server(postgres, folder)
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def processes(
    folder: Path, environ: Mapping[str, str], *commands: list[str], python: str = sys.executable
) -> Iterator[list[int]]:
    """Run Python programs (`[module, argument …]`) during the block; yields their process ids."""
    started: list[ChildProcess] = []
    path = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    try:
        for number, command in enumerate(commands):
            log = (folder / f"{command[0]}-{number}.log").open("ab")
            program = Program(
                name=command[0],
                argv=(python, "-m", *command),
                environ={**os.environ, "PYTHONPATH": path, **environ},
            )
            started.append(ChildProcess.start(program, log))
        yield [child.pid for child in started]
    finally:
        for child in started:
            child.stop()


@contextmanager
def running_system(
    broker: str = "redis", *, environ: Mapping[str, str], api_processes: int = 2, workers: int = 1
) -> Iterator[tuple[System, Path]]:
    """Run AVA Jobs, with nodes of two processes, on servers of its own; yields it and its folder."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ava-bench-")))
        server = stack.enter_context(running_redis() if broker == "redis" else running_rabbitmq())
        postgres = stack.enter_context(running_postgres())
        system = System(folder, database_url=postgres.url, broker_url=server.url, api_processes=api_processes)
        system.run("db", "upgrade")
        stack.callback(system.stop)
        (folder / "tmp").mkdir()
        system.start(workers=workers, environ={**environ, "TMPDIR": str(folder / "tmp")})
        yield system, folder


def until(condition: Callable[[], object], *, seconds: float = 120, every: float = 0.02) -> None:
    """Wait for a condition. Raises `TimeoutError`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {condition}")
        time.sleep(every)


def git_revision() -> str:
    """Return the revision that is measured."""
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"
