"""Callers of a Celery project, with one line on AVA Jobs and without it on Celery: what a user sees is the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ava.client.slugs import slug_of
from harness.polling import wait_until
from harness.servers.postgres import Databases
from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import HEADERS, ROOT, SECRET, System
from tests.acceptance.celery_calls import scenario
from tests.acceptance.conftest import running_system

PROJECT = "tests.acceptance.celery_calls"
APP = f"{PROJECT}.celery:app"
#: Kills of the caller, with every third one also of the node, and of the API.
KILLS = int(os.environ.get("CELERY_KILLS", "4"))
NAMES = [each.__name__ for each in scenario.SCENARIOS]


@pytest.fixture(scope="module")
def project_url(redis_server: Server) -> str:
    return fresh_redis_url(redis_server)


@pytest.fixture(scope="module")
def system(
    _databases: Databases, redis_server: Server, project_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    folder, broker_url = tmp_path_factory.mktemp("calls"), fresh_redis_url(redis_server)
    environ = {"AVA_CELERY_APPS": APP, "AVA_HANDLERS": "workers", "PROJECT_BROKER_URL": project_url}
    with (
        _databases.fresh(is_pooled=False) as url,
        running_system(folder, url, broker_url, concurrency=3, environ=environ) as system,
    ):
        yield system


def _environ(system: System, project_url: str) -> dict[str, str]:
    caller = {"AVA_TENANT_ID": HEADERS["x-tenant-id"], "AVA_USER_ID": HEADERS["x-user-id"]}
    given = {"AVA_URL": system.url, "AVA_INTERNAL_SECRET": SECRET, "PROJECT_BROKER_URL": project_url}
    return os.environ | caller | given


def _run(environ: dict[str, str], code: str, *arguments: str) -> str:
    done = subprocess.run(
        (sys.executable, *code.split(" ", 1), *arguments),
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def on_ava(system: System, project_url: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_run(_environ(system, project_url), f"-m {PROJECT}.scenario"))
    return found


@pytest.fixture(scope="module")
def on_celery(on_ava: dict[str, Any], redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same calls without the line, after those with it: a rollback."""
    environ = os.environ | {"PROJECT_BROKER_URL": fresh_redis_url(redis_server), "PROJECT_SIDE": "celery"}
    log: Path = tmp_path_factory.mktemp("celery") / "worker.log"
    command = (sys.executable, "-m", "celery", "-A", APP, "worker", "-c", "3", "-l", "INFO")
    with log.open("wb") as output:
        worker = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=output)
    try:
        found: dict[str, Any] = json.loads(_run(environ, f"-m {PROJECT}.scenario"))
    finally:
        worker.terminate()
        worker.wait(30)
    return found


@pytest.mark.redis
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", NAMES)
def test_a_caller_sees_on_ava_what_it_sees_on_celery(
    on_ava: dict[str, Any], on_celery: dict[str, Any], name: str
) -> None:
    assert "raised" not in str(on_celery[name]), on_celery[name]
    assert on_ava[name] == on_celery[name]


@pytest.mark.redis
def test_a_canvas_is_one_graph_and_a_mixed_one_is_refused(system: System, project_url: str) -> None:
    code = (
        f"-c from {PROJECT}.celery import add, app, total; from celery import chord; from {PROJECT} import scenario; "
        "result = chord([add.s(1, 1), add.s(2, 2)])(total.s()); print(result.get(timeout=30), result.id); "
        "print(scenario.mixed_canvas())"
    )
    first, refusal = _run(_environ(system, project_url), code).splitlines()
    total, job_id = first.split()
    tree = system.get(f"/v1/ava/jobs/{job_id}/tree").json()["data"]
    assert (total, len(tree["jobs"]), len(tree["edges"])) == ("6", 3, 2)
    assert "stays.on_celery, which stays on Celery" in refusal


@pytest.mark.redis
def test_calls_of_a_block_are_sent_at_its_end_and_an_error_names_one_by_its_index(
    system: System, project_url: str
) -> None:
    code = f"""-c import ava_celery
from {PROJECT}.celery import add, app

def block(name, last):
    results = []
    try:
        with ava_celery.together():
            for number in range(1001):
                results.append(add.apply_async((number, 1), countdown=3600, headers=dict(block=name)))
            last(results)
    except Exception as error:
        print(type(error).__name__, error, *error.__notes__ if hasattr(error, "__notes__") else ())
    print(sum(result.id.startswith("job_") for result in results))

block("left", lambda results: results[0].get())
block("wrong", lambda results: app.send_task("{PROJECT}.celery.no_task"))
"""
    left, of_left, wrong, of_wrong = _run(_environ(system, project_url), code).splitlines()
    assert left.startswith("ValueError this call has no id: ava_celery.together sends")
    assert wrong.startswith("ApiNotFound jobs[1].worker_id: No such worker")
    assert wrong.endswith("jobs[0] is call 1000 of the block; calls before it are sent.")
    assert (of_left, of_wrong) == ("0", "1000")
    statement = "SELECT tags->>'block', count(*) FROM jobs WHERE tags->>'block' IS NOT NULL GROUP BY 1"
    assert system.query(statement) == [("wrong", 1000)]


@pytest.mark.redis
def test_an_unreachable_api_raises_what_an_unreachable_broker_raises(project_url: str, system: System) -> None:
    environ = _environ(system, project_url) | {"AVA_URL": "http://127.0.0.1:9"}
    code = (
        f"-c from {PROJECT}.celery import add; import ava; from ava.client import Client; "
        "from kombu.exceptions import OperationalError\n"
        "ava.configure(Client.from_environment(retries=0))\n"
        "try: add.delay(1, 1)\n"
        "except OperationalError as error: print('raised')"
    )
    assert _run(environ, code) == "raised\n"


@pytest.mark.redis
@pytest.mark.timeout(60 + 20 * KILLS)
def test_each_call_is_one_job_whatever_is_killed(system: System, project_url: str) -> None:
    environ, first = _environ(system, project_url), 0
    for kill in range(KILLS):
        caller = subprocess.Popen(
            (sys.executable, "-m", f"{PROJECT}.caller", str(first)),
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert caller.stdout
        for _ in range(random.randint(1, 20)):
            caller.stdout.readline()
        if kill % 3 == 1:
            system.workers[-1].kill()
            system.start_worker(concurrency=3)
        if kill % 3 == 2:
            assert system.api
            system.api.kill()
        caller.kill()
        # Numbers that were printed have returned; the next call may have reached the API or not, and is repeated.
        returned = [int(line) for line in caller.communicate()[0].split()]
        first = returned[-1] + 1 if returned else first
        if kill % 3 == 2:
            system.start_api()
    statement = "SELECT count(*), count(DISTINCT tags->>'task_id') FROM jobs WHERE tags->>'task_id' LIKE 'kill-%%'"
    unfinished = f"{statement} AND status IN ('queued', 'running')"
    wait_until(lambda: system.query(unfinished)[0][0] == 0, seconds=60, what="every job has ended")
    ((jobs, ids),) = system.query(statement)
    assert jobs == ids >= first
    wrong = "AND (status <> 'completed' OR output::text::int <> (input->'args'->>0)::int + 1)"
    assert system.query(f"{statement} {wrong}") == [(0, 0)]


@pytest.mark.redis
def test_a_call_is_an_ordinary_job(system: System, project_url: str) -> None:
    code = (
        f"-c from {PROJECT}.celery import context as task; "
        "task.apply_async(priority=2, expires=600, headers={'customer': 'c1'}, task_id='order-1'); "
        "print(task.apply_async(priority=2, expires=600, headers={'customer': 'c1'}, task_id='order-1').id)"
    )
    assert _run(_environ(system, project_url), code) == "order-1\n"
    found = system.get("/v1/ava/jobs?filter[tag.task_id]=order-1&fields=*").json()["data"]
    (job,) = found
    assert job["worker_id"] == f"wkr_{slug_of(f'{PROJECT}.celery.context')}"
    assert (job["priority"], job["tags"]) == (3, {"customer": "c1", "task_id": "order-1"})
    assert job["expires_at"] is not None
