"""The complete system on this machine: its processes, and its servers unless settings name others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGQUIT

from ava import settings as settings_module
from ava.errors import StartError
from ava.local import environment, example, programs
from ava.local.account import Account, can_import, for_processes
from ava.local.data_folder import DataFolder, open_folder, server_folder
from ava.local.program import ChildProcess, Program, ava_argv
from ava.local.servers import Postgres, Redis
from ava.local.start import NotifySocket, address, free_port, is_system_ready, require_free, wait_until_ready
from ava.local.supervisor import Service, Supervisor
from ava.process.concealment import close_memory, overwrite
from ava.setting_values import SECRETS
from ava.settings import Settings

_READY_SECONDS = 60.0
#: The processes' role in PostgreSQL, which owns nothing.
_PROCESS_ROLE = "ava_processes"
#: Lower ports need root.
_FIRST_FREE_PORT = 1024


@dataclass(frozen=True, kw_only=True)
class System:
    #: Keeps it running while its `run` or `step` is executing.
    supervisor: Supervisor
    url: str
    #: An `x-internal-secret` of its API.
    secret: str
    #: A description of the started broker; empty if BROKER_URL names one.
    broker: str
    #: A file with its settings for a shell, `set -a; . FILE`.
    environment: Path
    #: Receives its node's readiness.
    node_ready: NotifySocket

    def replace_node(self) -> None:
        """Start another node. The current one takes no more jobs, and ends after its running jobs."""
        self.node_ready.expect_another()
        self.supervisor.replace("worker")


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
    """Start everything and wait until it is ready. On exit, stop everything in order.

    `write` is called with each line that the processes print. Raise `StartError` if something does not start, and
    `StopRequested` on a stop signal before the system is ready.
    """
    _check_settings()
    # The child processes inherit them; handlers of the same account must not read them from this process.
    overwrite(SECRETS)
    close_memory()
    require_free(host, port)
    folder = open_folder(data_dir)
    try:
        environment.forget_embedded(folder)
        with NotifySocket() as node_ready, Supervisor(write) as supervisor:
            additions = _start_servers(supervisor, folder)
            environ = environment.for_children(additions)
            settings = settings_module.load(environ)
            system = System(
                supervisor=supervisor,
                url=address(host, port),
                secret=settings.internal_secrets[0],
                broker="" if environment.own("BROKER_URL") else programs.describe_redis(_redis(folder).server),
                environment=environment.write_file(
                    folder, {**environment.of_handlers(), **additions, **_caller(address(host, port))}
                ),
                node_ready=node_ready,
            )
            _start_processes(system, settings, environ, host=host, port=port, concurrency=concurrency)
            yield system
    except StartError:
        # The logs in the folder have the details.
        keeps_data = True
        raise
    finally:
        if not keeps_data:
            folder.delete()
        folder.close()


def _caller(url: str) -> dict[str, str]:
    client = settings_module.load_client()
    return {"AVA_URL": url, "AVA_TENANT_ID": client.tenant, "AVA_USER_ID": client.user}


def _check_settings() -> None:
    """Refuse invalid settings before anything starts. Servers to be started get placeholder URLs."""
    placeholders = {"DATABASE_URL": "postgresql://127.0.0.1/ava", "BROKER_URL": "redis://127.0.0.1/0"}
    missing = {name: url for name, url in placeholders.items() if not environment.own(name)}
    settings_module.load(environment.for_children(missing))


def _start_servers(supervisor: Supervisor, folder: DataFolder) -> dict[str, str]:
    """Start the servers that the environment does not name. Return additional settings for the environment."""
    additions = {}
    servers: list[Postgres | Redis] = []
    if not environment.own("AVA_INTERNAL_SECRET"):
        additions["AVA_INTERNAL_SECRET"] = folder.secret("internal-secret")
    if not environment.own("AVA_ENCRYPTION_KEY"):
        additions["AVA_ENCRYPTION_KEY"] = folder.secret("encryption-key", size_bytes=32)
    if not environment.own("DATABASE_URL"):
        postgres = _postgres(supervisor, folder)
        servers.append(postgres)
        additions["DATABASE_OWNER_URL"] = postgres.url
        additions["DATABASE_URL"] = postgres.url_of(_PROCESS_ROLE, folder.secret("database-password"))
    if not environment.own("BROKER_URL"):
        servers.append(_redis(folder))
        additions["BROKER_URL"] = servers[-1].url
    # Start all before waiting for the first, so that they start in parallel.
    for server, child in [(server, _start_server(supervisor, folder, server)) for server in servers]:
        wait_until_ready(server, child, _log(folder, server), wait=supervisor.step)
    return additions


def _postgres(supervisor: Supervisor, folder: DataFolder) -> Postgres:
    data_path, owner = server_folder(folder, "postgres")
    if owner and not data_path.is_relative_to(folder.path.resolve()):
        supervisor.print_line(
            f"PostgreSQL runs as {owner.name}, which cannot reach {folder.path}; its data is in {data_path}"
        )
    return Postgres(
        folder=data_path,
        programs=programs.find_postgres(owner),
        account=owner,
        port=free_port(),
        password=folder.secret("postgres-password"),
        options={"max_connections": "300"},
    )


def _redis(folder: DataFolder) -> Redis:
    owner, password = folder.server_account(), folder.secret("broker-password")
    return Redis(server=programs.find_redis(owner), account=owner, port=free_port(), password=password)


def _start_server(supervisor: Supervisor, folder: DataFolder, server: Postgres | Redis) -> ChildProcess:
    return supervisor.start(Service(program=server.program(), prepare=server.prepare, log=_log(folder, server)))


def _log(folder: DataFolder, server: Postgres | Redis) -> Path:
    return folder.path / f"{server.program().name}.log"


def _start_processes(
    system: System, settings: Settings, environ: Mapping[str, str], *, host: str, port: int, concurrency: int | None
) -> None:
    supervisor = system.supervisor
    upgrade = Program(name="db", argv=ava_argv("db", "upgrade"), environ=environment.for_process("db", environ))
    supervisor.run_to_end(upgrade)
    if environment.own("BROKER_URL"):
        from ava.broker import connectivity

        connectivity.require(settings)
    processes = ("-c", str(concurrency)) if concurrency else ()
    drain_seconds = settings.drain_seconds + 10
    account = _account(supervisor, settings, environ)
    api_account = account if port >= _FIRST_FREE_PORT else None

    def environ_of(name: str) -> dict[str, str]:
        return environment.for_process(name, environ, api_account if name == "api" else account)

    node: dict[str, object] = {"death_signal": SIGQUIT, "stop_seconds": drain_seconds, "account": account}
    node["environ"] = environ_of("worker") | {"NOTIFY_SOCKET": system.node_ready.name}
    for program in (
        _start("worker", "node", *processes, **node),
        _start("dispatcher", "dispatcher", environ=environ_of("dispatcher"), account=account),
        _start("webhooks", "sender", environ=environ_of("webhooks"), account=account),
        _start("api", "api", "--host", host, "--port", str(port), environ=environ_of("api"), account=api_account),
    ):
        supervisor.start(Service(program=program))
    # A ready API is not sufficient: for some seconds it still reports the node of a killed run as live.
    supervisor.wait_for(
        lambda: system.node_ready.is_ready() and is_system_ready(system.url, example.headers(system.secret)),
        seconds=_READY_SECONDS,
        what="the system did not become ready",
    )
    supervisor.restarts = True


def _account(supervisor: Supervisor, settings: Settings, environ: Mapping[str, str]) -> Account | None:
    """Return the processes' account; root only if no other account can reach the code."""
    account = for_processes()
    if account is not None and not can_import(account, settings.imported_modules, environ):
        supervisor.print_line(
            f"ava: handlers run as root, because {account.name} cannot read this Python, this package or the handler "
            "modules; start as an ordinary user"
        )
        return None
    return account


def _start(name: str, *arguments: str, **options: object) -> Program:
    return Program(name=name, argv=ava_argv("start", *arguments), **options)  # type: ignore[arg-type]
