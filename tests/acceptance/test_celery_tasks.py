"""The tasks of a Celery project as workers: the outcome of each is that of plain Celery, side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ava.client.slugs import slug_of
from harness.polling import wait_until
from harness.servers.postgres import Databases
from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import FINAL, HEADERS, ROOT, SECRET, System
from tests.acceptance.conftest import running_system

PROJECT = "tests.acceptance.celery_project"
APP = f"{PROJECT}.celery:app"
#: Each task with its arguments: `FOLDER` is a folder in which it leaves files.
CALLS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "tasks.add": ([2, 3], {}),
    "tasks.mul": ([4], {}),
    "tasks.xsum": ([[1, 2, 3]], {}),
    "tasks.hello": ([], {}),
    "tasks.count_words": (["to be or not"], {"unit": "w"}),
    "sum-of-two-numbers": ([1, 2], {}),
    "tasks.everything": ([1, [2]], {"a": {"b": None}}),
    "tasks.when": ([], {}),
    "tasks.mytask": ([], {}),
    "tasks.import_feed": (["http://example.com/rss"], {}),
    "tasks.dump_context": ([1], {"y": 2}),
    "tasks.upload_files": ([["a", "b"]], {}),
    "tasks.some_task": ([], {}),
    "tasks.ignored_failure": ([], {}),
    "tasks.send_twitter_status": (["key", "hello"], {}),
    "tasks.gives_up": ([], {}),
    "tasks.gives_up_without_an_error": ([], {}),
    "tasks.retries_at": ([], {}),
    "tasks.retries_and_goes_on": ([], {}),
    "tasks.refresh_timeline": (["ada"], {}),
    "tasks.x": ([], {}),
    "tasks.divide": ([1, 0], {}),
    "tasks.fails_at_once": ([], {}),
    "tasks.get_foo": ([], {}),
    "tasks.replaced_by_a_task": (["FOLDER", 1], {}),
    "tasks.replaced_by_a_chain": ([1], {}),
    "tasks.replaced_by_a_group": ([1], {}),
    "tasks.replaced_by_a_chord": ([1], {}),
    "tasks.replaced_by_a_failure": ([], {}),
    "tasks.render_scene": (["a.blend"], {}),
    "tasks.requeues": (["FOLDER"], {}),
    "tasks.dies": ([], {}),
    "tasks.dies_once": (["FOLDER"], {}),
    "tasks.process_rows": ([], {}),
    "tasks.witnessed": (["FOLDER"], {}),
    "tasks.witnessed_failure": (["FOLDER"], {}),
    "tasks.calls_directly": ([5], {}),
    "tasks.calls_eagerly": ([5], {}),
    "tasks.publishes": ([7], {}),
    "limits.cleans_up": ([], {}),
    "limits.does_not_clean_up": ([], {}),
    "limits.too_long": ([], {}),
}
#: The tasks of whose end plain Celery stores nothing. Here each job has an end, without an output.
SILENT_THERE = ("tasks.some_task", "tasks.mytask")


@dataclass(frozen=True)
class Ends:
    """The ends of all tasks, by their short names, and the words that they left."""

    of: dict[str, tuple[str, Any]]
    words: str
    #: The messages that the tasks have published into their own application's queue `others`.
    published: int


def _name(short: str) -> str:
    return short if "." not in short else f"{PROJECT}.{short}"


def _given(arguments: list[Any], folder: Path) -> list[Any]:
    return [str(folder) if each == "FOLDER" else each for each in arguments]


@pytest.fixture(scope="module")
def project_url(redis_server: Server) -> str:
    return fresh_redis_url(redis_server)


@pytest.fixture(scope="module")
def system(
    _databases: Databases, redis_server: Server, project_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    folder, broker_url = tmp_path_factory.mktemp("celery"), fresh_redis_url(redis_server)
    environ = {"AVA_CELERY_APPS": APP, "AVA_HANDLERS": "workers", "PROJECT_BROKER_URL": project_url}
    with (
        _databases.fresh(is_pooled=False) as url,
        running_system(folder, url, broker_url, concurrency=3, environ=environ) as system,
    ):
        yield system


@pytest.fixture(scope="module")
def here(system: System, project_url: str, tmp_path_factory: pytest.TempPathFactory) -> Ends:
    """The ends of the tasks as jobs."""
    return _run_all(system, project_url, tmp_path_factory.mktemp("here"))


def _run_all(system: System, project_url: str, folder: Path) -> Ends:
    ids = {}
    for short, (args, kwargs) in CALLS.items():
        body = {"args": _given(args, folder), "kwargs": kwargs}
        ids[short] = system.trigger(f"wkr_{slug_of(_name(short))}", input=body)["id"]
    records: dict[str, Any] = {}

    def all_final() -> bool:
        found = {short: system.show(id_) for short, id_ in ids.items() if short not in records}
        records.update({short: record for short, record in found.items() if record["status"] in FINAL})
        return len(records) == len(ids)

    wait_until(all_final, seconds=90, what="every task has ended here")
    ends = {short: (records[short]["status"], records[short]["error"] or records[short]["output"]) for short in ids}
    return Ends(ends, (folder / "words-here").read_text(), _published(project_url))


@pytest.fixture(scope="module")
def there(here: Ends, project_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    """The ends of the tasks on plain Celery."""
    folder = tmp_path_factory.mktemp("there")
    environ = os.environ | {"PROJECT_BROKER_URL": project_url, "PROJECT_SIDE": "there"}
    log = folder / "worker.log"
    command = (sys.executable, "-m", "celery", "-A", APP, "worker", "-c", "3", "-Q", "celery,feeds", "-l", "INFO")
    with log.open("wb") as output:
        plain = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=output)
    try:
        yield Ends(*_outcomes(project_url, folder, environ))
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log.read_text()[-3000:]}") from error
    finally:
        plain.terminate()
        plain.wait(30)


def _outcomes(project_url: str, folder: Path, environ: dict[str, str]) -> tuple[dict[str, tuple[str, Any]], str, int]:
    calls = {_name(short): (_given(args, folder), kwargs) for short, (args, kwargs) in CALLS.items()}
    silent = [_name(short) for short in SILENT_THERE]
    done = subprocess.run(
        (sys.executable, "-m", f"{PROJECT}.caller"),
        cwd=ROOT,
        env=environ,
        input=json.dumps([calls, silent]),
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ends = json.loads(done.stdout)
    return {short: ends[_name(short)] for short in CALLS}, (folder / "words-there").read_text(), _published(project_url)


def _published(url: str) -> int:
    import redis

    with redis.Redis.from_url(url) as connection:
        return int(connection.llen("others"))


@pytest.mark.redis
@pytest.mark.parametrize("short", CALLS)
def test_a_task_ends_here_as_on_plain_celery(here: Ends, there: Ends, short: str) -> None:
    status, value = here.of[short]
    state, expected = there.of[short]
    if short in SILENT_THERE:
        assert (state, status, value) == ("PENDING", "completed", None)
    elif short == "tasks.retries_and_goes_on":
        # There the first try succeeds as well, with 0, so the state is that of the try which has ended last.
        assert (state, status, value) == ("SUCCESS", "completed", 1)
    elif short == "tasks.render_scene":
        assert (state, status, value) == ("FAILURE", "failed", "GiveUp: rejected: out of memory")
    elif short == "tasks.dies":
        assert (state, expected.partition(":")[0]) == ("FAILURE", "WorkerLostError")
        assert (status, value) == ("failed", "WorkerLost: the worker process died (signal 9)")
    elif short == "limits.too_long":
        assert (state, expected.partition(":")[0]) == ("FAILURE", "TimeLimitExceeded")
        assert (status, value) == ("failed", "Timeout: exceeded 1 s")
    elif short == "tasks.ignored_failure":
        assert (state, status, value.partition(":")[0]) == ("FAILURE", "failed", "TaskIgnored")
    elif short == "tasks.gives_up_without_an_error":
        assert (state, status) == ("FAILURE", "failed")
        assert value.partition("[")[0] == expected.partition("[")[0]
    else:
        assert {"SUCCESS": "completed", "FAILURE": "failed"}[state] == status
        assert value == expected


@pytest.mark.redis
def test_the_methods_of_a_task_class_are_called_as_on_plain_celery(here: Ends, there: Ends) -> None:
    assert sorted(here.words.splitlines()) == sorted(there.words.splitlines())
    assert "witnessed_failure on_retry FailWhale('down')" in here.words


@pytest.mark.redis
def test_a_task_publishes_to_its_own_applications_broker(here: Ends, there: Ends) -> None:
    assert here.published == 4
    assert there.published == 8


@pytest.mark.redis
def test_a_task_is_cancelled_and_logs_like_any_handler(system: System) -> None:
    id_ = system.trigger(f"wkr_{slug_of(_name('limits.sleeps'))}", input={"args": [60]})["id"]
    system.wait_for(id_, "running")
    assert system.post(f"/v1/ava/jobs/{id_}/cancel").ok
    system.wait_for(id_, "cancelled")
    assert "cleans up" in system.messages(id_)
    done = system.trigger(f"wkr_{slug_of(_name('tasks.add'))}", input={"args": [2, 3]})["id"]
    system.wait_for(done, "completed")
    assert system.messages(done)[:2] == ["Worker handler started", "Adding 2 + 3"]
    retried = system.trigger(f"wkr_{slug_of(_name('tasks.refresh_timeline'))}", input={"args": ["ada"]})["id"]
    system.wait_for(retried, "completed")
    assert system.messages(retried)[1] == "Retry in 0 s: FailWhale: ada"


@pytest.mark.redis
def test_an_argument_that_the_task_does_not_take_is_refused_by_its_name(system: System) -> None:
    worker_id = f"wkr_{slug_of(_name('tasks.mul'))}"
    for wrong, path in (
        ({"args": [1, 2, 3]}, "input.args"),
        ({"args": [1], "kwargs": {"z": 1}}, "input.kwargs.z"),
        ({"x": 1}, "input.x"),
    ):
        response = system.post("/v1/ava/jobs", json={"worker_id": worker_id, "input": wrong})
        assert (response.status_code, list(response.json()["error"]["fields"])) == (422, [path])


@pytest.mark.redis
def test_beats_entries_become_schedules_once(system: System) -> None:
    dry = _ava(system, "celery", "import-schedules", APP, "--dry-run")
    assert "ok  add-at-night: would create" in dry.stdout
    first = _ava(system, "celery", "import-schedules", APP)
    assert (first.returncode, first.stderr) == (1, "")
    assert "!!  add-a-third: input.args" in first.stdout
    assert "ok  add-every-10-seconds: created wkr_" in first.stdout
    assert "!!  add-on-friday-the-13th: Celery wants" in first.stdout
    assert "ok  add-every-30-minutes: created" in first.stdout
    again = _ava(system, "celery", "import-schedules", APP).stdout
    assert again.count(": unchanged") == 4
    found = {each["name"]: each for each in system.get("/v1/ava/schedules").json()["data"]}
    names = ["add-at-night", "add-every-10-seconds", "add-every-30-minutes", "add-every-monday-morning"]
    assert sorted(found) == names
    assert (found["add-every-10-seconds"]["every_seconds"], found["add-every-10-seconds"]["cron"]) == (10, None)
    assert found["add-at-night"]["cron"] == "0-5,55-59 0,2,20,22 * * 1,5"
    monday = found["add-every-monday-morning"]
    assert (monday["cron"], monday["timezone"]) == ("30 7 * * 1", "Europe/London")
    assert (monday["input"], monday["expires_in_seconds"]) == ({"args": [16, 16], "kwargs": {}}, 600)
    assert monday["worker_id"] == f"wkr_{slug_of(_name('tasks.add'))}"


@pytest.mark.redis
def test_a_node_skips_tasks_that_would_behave_otherwise_and_a_strict_one_refuses_them(system: System) -> None:
    unfit = f"{PROJECT}.unfit:app"
    only = {"AVA_CELERY_APPS": unfit, "AVA_CELERY_ONLY": f"{PROJECT}.unfit.*", "AVA_CELERY_SKIP": "*.long"}
    strict = _ava(system, "worker", **only, AVA_CELERY_STRICT="1")
    assert (strict.returncode, "Traceback" in strict.stderr) == (1, False)
    assert f"{PROJECT}.unfit.pickled: serializer='pickle'" in strict.stderr
    doctor = _ava(system, "doctor", **only)
    assert f"in workers, {unfit}" in doctor.stdout
    with _node(system, only) as log:
        wait_until(
            lambda: f"skipped {PROJECT}.unfit.pickled: serializer" in log.read_text(), seconds=20, what="a warning"
        )
        fine = f"wkr_{slug_of(f'{PROJECT}.unfit.fine')}"
        wait_until(lambda: system.get(f"/v1/ava/workers/{fine}").status_code == 200, what="the node offers the others")
        done = system.trigger(fine, input={"args": ["x"]})["id"]
        assert system.wait_for(done, "completed")["output"] == "x"
    checked = _ava(system, "celery", "check", unfit, **only)
    assert checked.returncode == 0
    assert f"ok  {PROJECT}.unfit.limited: wkr_" in checked.stdout
    assert "100/minute in the whole system" in checked.stdout
    assert "fix: set serializer=" in checked.stdout
    assert f"--  {PROJECT}.unfit.long: left out" in checked.stdout
    assert _ava(system, "celery", "check", unfit, "--strict").returncode == 1
    assert _ava(system, "celery", "check", APP, "--strict").returncode == 0
    missing = _ava(system, "celery", "check", "no_such_module:app")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)


@contextmanager
def _node(system: System, environ: dict[str, str]) -> Iterator[Path]:
    """Run one more node. Yields its log."""
    log = Path(tempfile.mkdtemp()) / "node.log"
    command = (sys.executable, "-m", "ava.cli.main", "worker", "-c", "1")
    with log.open("wb") as output:
        node = subprocess.Popen(command, cwd=ROOT, env=_environ(system, environ), stdout=output, stderr=output)
    try:
        yield log
    finally:
        node.terminate()
        node.wait(40)


def _environ(system: System, more: dict[str, str]) -> dict[str, str]:
    given = {
        "AVA_URL": system.url,
        "AVA_INTERNAL_SECRET": SECRET,
        "AVA_TENANT_ID": HEADERS["x-tenant-id"],
        "AVA_USER_ID": HEADERS["x-user-id"],
        "DATABASE_URL": system.database_url,
        "BROKER_URL": system.broker_url,
    }
    return os.environ | given | more


def _ava(system: System, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "ava.cli.main", *arguments),
        cwd=ROOT,
        env=_environ(system, environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
