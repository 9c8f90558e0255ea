"""`ava up` and `ava demo`: one command runs everything, no process is left, and every failure is one clear line."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import uuid
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import psycopg2
import pytest
import requests

from ava.local import example, programs
from ava.local.account import can_import, for_processes
from ava.local.start import free_port
from ava.setting_values import SECRETS
from harness.polling import wait_until
from harness.running_process import lives
from harness.servers.server import private_folder
from harness.system import FINAL, MARK, carries
from tests.acceptance.up_process import Up, ava_command, environment


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder for all tests here. The first `ava up` creates the data, and the others start warm."""
    with private_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def shared(home: Path) -> Path:
    """The folder in which `shared_up` was started."""
    folder = home / "shared"
    folder.mkdir()
    # The processes run as another account.
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def shared_up(shared: Path) -> Iterator[Up]:
    """An `ava up` for tests that leave it running; it restarts what they kill.

    SIGTERM ends it as Ctrl-C does, and a second signal does not wait for the running job, which would take ten minutes.
    """
    running = Up(shared / ".ava", environ={"AVA_HANDLERS": "workers,workers.sleep"})
    try:
        running.await_ready()
        yield running
        running.await_status(running.trigger("wkr_sleep", input={"seconds": 600}), "running")
        running.remember()
        running.send(signal.SIGTERM)
        wait_until(lambda: "ava: stopping" in running.output, what="it reports that it stops")
        running.send(signal.SIGINT)
        running.process.wait(60)
        wait_until(lambda: not running.left(), what=lambda: f"nothing is left: {running.left()}")
        assert "Traceback" not in running.output
    finally:
        running.clean_up()


def _run(
    *arguments: str, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ava_command(*arguments),
        env=environment(environ),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def _assert_one_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("ava: ")
    assert result.stdout == ""
    for word in words:
        assert word in result.stderr


# It starts and stops the whole system twice, which takes minutes on a very busy machine.
@pytest.mark.timeout(360)
def test_ctrl_c_lets_a_running_job_finish_a_warm_start_keeps_data_and_secret_and_sigkill_leaves_no_process(
    home: Path,
) -> None:
    with _running(home) as first:
        created, secret = _database_created(home / ".ava"), first.headers["x-internal-secret"]
        finishing = first.trigger("wkr_sleep", input={"seconds": 4})
        first.await_status(finishing, "running")
        first.send(signal.SIGINT)
        assert first.process.wait(120) == 0
        assert first.left() == []
    # In a shell that sourced the first one's settings: the servers that they name are gone.
    settings = shlex.split((home / ".ava" / "environment").read_text())
    with _running(home, dict(setting.split("=", 1) for setting in settings)) as second:
        assert _database_created(home / ".ava") == created
        assert second.headers["x-internal-secret"] == secret
        assert f"Broker: {programs.describe_redis(programs.find_redis(None)).split()[1]}" in second.output
        assert second.status(finishing) == "completed"
        second.await_status(second.trigger("wkr_sleep", input={"seconds": 60}), "running")
        second.remember()
        second.process.kill()
        second.process.wait()
        wait_until(lambda: not second.left(), what=lambda: f"nothing is left: {second.left()}\n{second.output[-3000:]}")
    # This mistake is found when the servers run, on the data that the killed one has left.
    _assert_refused(home, {"AVA_HANDLERS": "no_such_module"}, ("no_such_module",))


@contextlib.contextmanager
def _running(home: Path, environ: Mapping[str, str] | None = None) -> Iterator[Up]:
    """A ready `ava up`, of which nothing is left."""
    running = Up(home / ".ava", environ={**(environ or {}), "AVA_HANDLERS": "workers,workers.sleep"})
    try:
        running.await_ready()
        yield running
    finally:
        running.clean_up()


def _database_created(data_dir: Path) -> tuple[str, ...]:
    """Returns what a new data directory and every migration change: the system identifier, and a transaction's id."""
    url = (data_dir / "environment").read_text().split("DATABASE_OWNER_URL='")[1].split("'")[0]
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            # Each migration writes the one row of `alembic_version` in its own transaction.
            cursor.execute("SELECT system_identifier::text, xmin::text FROM pg_control_system(), alembic_version")
            return tuple(cursor.fetchone())
    finally:
        connection.close()


def _answers(url: str, headers: Mapping[str, str]) -> bool:
    """Returns whether the API has what is at an address. It may be starting again, after a test that killed it."""
    try:
        return requests.get(url, headers=headers, timeout=10).ok
    except requests.ConnectionError:
        return False


def test_a_node_that_is_started_in_its_folder_joins_it_and_the_doctor_finds_all_well(
    shared_up: Up, shared: Path
) -> None:
    up, home = shared_up, shared
    (home / "more_handlers.py").write_text("from ava import worker\n\n\n@worker('more')\ndef more(input): return 1\n")
    environ = environment({MARK: up.mark, "AVA_HANDLERS": "more_handlers"})
    log = home / "node.log"
    with log.open("wb") as output:
        node = subprocess.Popen(ava_command("worker", "-c", "1"), cwd=home, env=environ, stdout=output, stderr=output)
    try:
        wait_until(
            lambda: _answers(f"{up.url}/v1/ava/workers/wkr_more", up.headers),
            seconds=30,
            what=lambda: f"the node joins: {log.read_text()}",
        )
        # The node of `ava up` has the queue as well, but not the handler, and defers each message that it gets.
        assert up.await_status(up.trigger("wkr_more"), *FINAL) == "completed"
        assert "this node joins the system of `ava up` in this folder" in log.read_text()
        doctor = _run("doctor", cwd=home, environ={"AVA_HANDLERS": "more_handlers"})
        assert doctor.returncode == 0, doctor.stdout
        assert re.search(r"^ok  processes: an active dispatcher; live nodes: [2-9] of version", doctor.stdout, re.M)
    finally:
        node.send_signal(signal.SIGTERM)
        assert node.wait(30) == 0, log.read_text()


#: Which of the service's keys each process needs.
NEEDED = {
    "api": ("AVA_ENCRYPTION_KEY", "AVA_INTERNAL_SECRET"),
    "node": ("AVA_ENCRYPTION_KEY",),
    "sender": ("AVA_ENCRYPTION_KEY",),
    "dispatcher": ("AVA_ENCRYPTION_KEY",),
}


def _shows_no_secret(process: psutil.Process) -> bool:
    try:
        environ = process.environ()
    except psutil.AccessDenied:
        return True
    return all(set(environ[name]) == {"x"} for name in SECRETS if name in environ)


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_a_process_is_not_root_gets_the_keys_that_it_needs_and_shows_no_secret(shared_up: Up, name: str) -> None:
    account = for_processes()
    # An account that cannot read this checkout runs nothing.
    is_usable = account is not None and can_import(account, ["workers"], environment())
    expected = account.uid if account is not None and is_usable else os.geteuid()
    process = wait_until(lambda: shared_up.child(name), what=f"{name} runs")
    for each in (process, *process.children(recursive=True)):
        # A process that was just restarted conceals them once it has imported what conceals.
        wait_until(functools.partial(_shows_no_secret, each), what=f"{each} conceals its secrets")
        # The names stay where the kernel shows them.
        with contextlib.suppress(psutil.AccessDenied):
            secrets = {"AVA_INTERNAL_SECRET", "AVA_ENCRYPTION_KEY", "DATABASE_OWNER_URL"} & each.environ().keys()
            assert sorted(secrets) == [*NEEDED[name]]
        assert each.uids().effective == expected, each


@pytest.mark.usefixtures("shared_up")
def test_the_processes_own_nothing_in_the_database(shared: Path) -> None:
    url = (shared / ".ava" / "environment").read_text().split("DATABASE_URL='")[1].split("'")[0]
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (False,)
        connection.commit()
        for statement in ("DROP TABLE jobs", "CREATE TABLE x ()", "UPDATE alembic_version SET version_num = 'r0'"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(statement)
            connection.rollback()


@pytest.mark.parametrize("name", ["api", "node", "dispatcher", "redis-server", "postgres"])
def test_a_killed_process_is_restarted(shared_up: Up, name: str) -> None:
    up = shared_up
    victim = up.child(name)
    assert victim
    shown = len(up.output)
    victim.kill()
    wait_until(lambda: "starting it again" in up.output[shown:], what="the restart is reported")

    def completes() -> bool:
        try:
            job = up.trigger("wkr_incident_notify", input=example.EXAMPLE["input"])
            return up.await_status(job, *FINAL) == "completed"
        except (requests.RequestException, AssertionError):
            return False

    wait_until(completes, seconds=60, what=f"jobs complete again after {name} was killed")
    wait_until(lambda: up.child(name) not in (None, victim), what=f"{name} runs again")


def test_a_second_ava_up_on_the_same_data_is_refused_in_one_line(shared_up: Up, shared: Path) -> None:
    result = _run("up", "--port", str(free_port()), "--data-dir", str(shared / ".ava"))
    _assert_one_line(result, "in use by another `ava up`", str(shared_up.process.pid), "--data-dir")


def test_a_port_in_use_is_refused_in_one_line(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = _run("up", "--port", str(port), "--data-dir", str(home / "other"))
    _assert_one_line(result, f"Port {port} of 127.0.0.1 is in use", "--port")
    assert not (home / "other").exists()


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"DATABASE_URL": "postgresql://ava@127.0.0.1:1/ava"}, ("DATABASE_URL", "cannot be reached")),
        ({"BROKER_URL": "redis://127.0.0.1:1/0"}, ("BROKER_URL", "cannot be reached")),
        # What other values are refused: tests/unit/test_settings.py.
        ({"AVA_DRAIN_SECONDS": "soon"}, ("AVA_DRAIN_SECONDS", "number")),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line_and_leaves_no_process(
    home: Path, environ: Mapping[str, str], words: tuple[str, ...]
) -> None:
    _assert_refused(home, environ, words)


def _assert_refused(home: Path, environ: Mapping[str, str], words: tuple[str, ...]) -> None:
    mark = uuid.uuid4().hex
    result = _run("up", "--port", str(free_port()), "--data-dir", str(home / ".ava"), environ={**environ, MARK: mark})
    assert result.returncode == 1
    assert [line for line in result.stderr.splitlines() if line.startswith("ava: ")] == result.stderr.splitlines()
    assert len(result.stderr.splitlines()) == 1
    assert all(word in result.stderr for word in words), result.stderr
    assert not [process for process in psutil.process_iter() if carries(process, mark) and lives(process)]
    assert "Traceback" not in result.stdout
    assert "AVA ready" not in result.stdout


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_process_refuses_the_schema_of_another_commit_and_a_newer_one_in_one_line(
    home: Path, database_url: str, broker_url: str
) -> None:
    environ = {
        "DATABASE_URL": database_url,
        "BROKER_URL": broker_url,
        "AVA_INTERNAL_SECRET": "of-this-test-only",
        "AVA_ENCRYPTION_KEY": b64encode(bytes(32)).decode(),
    }
    up = ("up", "--port", str(free_port()), "--data-dir", str(home / ".ava"))
    _execute(database_url, "UPDATE schema_compatibility SET baseline_digest = 'of another text'")
    for command in (up, ("db", "upgrade"), ("worker",)):
        _assert_one_line(_run(*command, environ=environ), "another commit's schema", "ava up --data-dir NEW_DIRECTORY")
    _execute(database_url, "UPDATE alembic_version SET version_num = 'r9999'")
    _execute(database_url, "UPDATE schema_compatibility SET oldest_revision = 'r9999'")
    _assert_one_line(_run(*up, environ={"DATABASE_URL": database_url}), "newer")


def _execute(database_url: str, statement: str) -> None:
    with contextlib.closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)


def test_the_demo_shows_a_job_from_trigger_to_record() -> None:
    port = str(free_port())
    result = _run("demo", "--port", port)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"AVA ready: http://127.0.0.1:{port}\n" in result.stdout
    assert "201 CREATED" in result.stdout.upper()
    assert "info   Worker handler started" in result.stdout
    assert "info   Handler completed in" in result.stdout
    assert '"status": "completed"' in result.stdout.splitlines()[-60:].__str__()
    assert "Traceback" not in result.stdout + result.stderr


def test_help_imports_no_implementation() -> None:
    code = "import sys; from ava.cli.main import cli; print(sorted({m.split('.')[0] for m in sys.modules}))"
    imported = subprocess.run(
        (sys.executable, "-c", code), env=environment(), capture_output=True, text=True, check=True
    )
    for heavy in ("celery", "flask", "sqlalchemy", "gevent", "requests", "kombu", "marshmallow"):
        assert f"'{heavy}'" not in imported.stdout


@pytest.mark.parametrize("command", ["start node", "doctor"])
def test_every_process_refuses_to_start_without_its_settings_in_one_line(command: str, tmp_path: Path) -> None:
    _assert_one_line(_run(*command.split(), cwd=tmp_path), "DATABASE_URL", "not set")


def test_the_api_does_not_start_without_a_secret() -> None:
    environ = {"DATABASE_URL": "postgresql://127.0.0.1:1/ava", "BROKER_URL": "redis://127.0.0.1:1/0"}
    _assert_one_line(_run("api", environ=environ), "AVA_INTERNAL_SECRET")


def test_a_link_that_signs_in_is_printed_on_demand_and_never_into_a_log(shared_up: Up, home: Path) -> None:
    secret = shared_up.headers["x-internal-secret"]
    result = _run("dashboard", environ={"AVA_URL": shared_up.url, "AVA_INTERNAL_SECRET": secret}, cwd=home)
    token = result.stdout.strip().partition(f"{shared_up.url}/#/signin?link=")[2]
    headers = {"authorization": f"Link {token}"}
    assert requests.post(f"{shared_up.url}/v1/ava/session", headers=headers, timeout=10).status_code == 201
    assert requests.post(f"{shared_up.url}/v1/ava/session", headers=headers, timeout=10).status_code == 401
    assert "signin?link=" not in shared_up.output, "its output is a file, not a terminal"
    assert token not in shared_up.output
