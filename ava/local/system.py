"""The whole system on this machine: its servers, unless others are named, and its processes, under one supervisor."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGQUIT

from ava import settings as settings_module
from ava.errors import StartError
from ava.local import environment, example, ports, programs, system_ready
from ava.local.data_folder import DataFolder, open_folder, server_folder
from ava.local.postgres import Postgres
from ava.local.program import ChildProcess, Program
from ava.local.redis import Redis
from ava.local.sd_notify import NotifySocket
from ava.local.start import await_answer, free_port
from ava.local.supervisor import Service, Supervisor
from ava.settings import Settings

__all__ = ["System", "start_system"]

_READY_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class System:
    """A system that runs."""

    #: Who keeps it running; its `run` or `turn` must be called for that.
    supervisor: Supervisor
    #: Where its API is.
    url: str
    #: A key that its API takes as `x-internal-secret`.
    secret: str
    #: A file that a shell can read for the hand tools, `set -a; . FILE`.
    environment: Path


@contextmanager
def start_system(
    data_dir: Path,
    *,
    host: str,
    port: int,
    concurrency: int | None,
    write: Callable[[str], None],
    keeps_data: bool = True,
) -> Iterator[System]:
    """Start everything and wait until a POST would work; on leaving, stop everything in order.

    `write` takes the lines that the processes print. Raises `StartError` for whatever hinders the start, and
    `StopRequested` when a signal comes before everything is up.
    """
    _check_settings()
    ports.require_free(host, port)
    folder = open_folder(data_dir)
    try:
        with Supervisor(write) as supervisor:
            additions = _start_servers(supervisor, folder)
            environ = environment.completed(additions)
            settings = settings_module.load(environ)
            system = System(
                supervisor=supervisor,
                url=ports.address(host, port),
                secret=settings.internal_secrets[0],
                environment=environment.note(folder, {**additions, "AVA_URL": ports.address(host, port)}),
            )
            _start_processes(system, settings, environ, host=host, port=port, concurrency=concurrency)
            yield system
    except StartError:
        # The logs in the folder say more.
        keeps_data = True
        raise
    finally:
        if not keeps_data:
            folder.delete()
        folder.close()


def _check_settings() -> None:
    """Refuse a wrong setting before anything is started; what we start ourselves is stood in for."""
    stand_ins = {"DATABASE_URL": "postgresql://127.0.0.1/ava", "BROKER_URL": "redis://127.0.0.1/0"}
    missing = {name: url for name, url in stand_ins.items() if not environment.given(name)}
    settings_module.load(environment.completed(missing))


def _start_servers(supervisor: Supervisor, folder: DataFolder) -> dict[str, str]:
    """Start those servers that the environment does not name, and say where they are."""
    additions = {}
    servers: list[Postgres | Redis] = []
    if not environment.given("AVA_INTERNAL_SECRET"):
        additions["AVA_INTERNAL_SECRET"] = folder.secret("internal-secret")
    if not environment.given("AVA_ENCRYPTION_KEY"):
        additions["AVA_ENCRYPTION_KEY"] = folder.secret("encryption-key", size_bytes=32)
    if not environment.given("DATABASE_URL"):
        servers.append(_postgres(supervisor, folder))
        additions["DATABASE_URL"] = servers[-1].url
    if not environment.given("BROKER_URL"):
        servers.append(_redis(folder))
        additions["BROKER_URL"] = servers[-1].url
    # All of them first, then their answers: they start at the same time.
    for server, child in [(server, _start_server(supervisor, folder, server)) for server in servers]:
        await_answer(server, child, _log(folder, server), wait=supervisor.turn)
    return additions


def _postgres(supervisor: Supervisor, folder: DataFolder) -> Postgres:
    place, owner = server_folder(folder, "postgres")
    if owner and not place.is_relative_to(folder.path.resolve()):
        supervisor.say(f"PostgreSQL runs as {owner.name}, who cannot reach {folder.path}: its data is in {place}")
    return Postgres(
        folder=place,
        programs=programs.find_postgres(owner),
        account=owner,
        port=free_port(),
        password=folder.secret("postgres-password"),
        options={"max_connections": "300"},
    )


def _redis(folder: DataFolder) -> Redis:
    owner = folder.server_account()
    return Redis(server=programs.find_redis(owner), account=owner, port=free_port())


def _start_server(supervisor: Supervisor, folder: DataFolder, server: Postgres | Redis) -> ChildProcess:
    return supervisor.start(Service(program=server.program(), prepare=server.prepare, log=_log(folder, server)))


def _log(folder: DataFolder, server: Postgres | Redis) -> Path:
    return folder.path / f"{server.program().name}.log"


def _start_processes(
    system: System, settings: Settings, environ: Mapping[str, str], *, host: str, port: int, concurrency: int | None
) -> None:
    supervisor = system.supervisor
    supervisor.run_to_end(_ava("db", "upgrade", environ=environ))
    if environment.given("BROKER_URL"):
        from ava.broker import connectivity

        connectivity.require(settings)
    processes = ("-c", str(concurrency)) if concurrency else ()
    drain_seconds = settings.drain_seconds + 10
    ear = NotifySocket()
    node_environ = {**environ, "NOTIFY_SOCKET": ear.name}
    for program in (
        _ava("worker", *processes, environ=node_environ, death_signal=SIGQUIT, stop_seconds=drain_seconds),
        _ava("dispatcher", environ=environ),
        _ava("webhooks", environ=environ),
        _ava("api", "--host", host, "--port", str(port), environ=environ),
    ):
        supervisor.start(Service(program=program))
    _await_ready(system, ear)
    supervisor.restarts = True


def _await_ready(system: System, ear: NotifySocket) -> None:
    # The API alone does not tell: for some seconds it takes a node of a killed run for a living one.
    try:
        system.supervisor.wait_for(
            lambda: ear.has_heard() and system_ready.is_ready(system.url, example.headers(system.secret)),
            seconds=_READY_SECONDS,
            what="the system did not become ready",
        )
    finally:
        ear.close()


def _ava(name: str, *arguments: str, **options: object) -> Program:
    return Program(name=name, argv=(sys.executable, "-m", "ava.cli.main", name, *arguments), **options)  # type: ignore[arg-type]
