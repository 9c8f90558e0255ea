"""Django's own tests of tasks, with our backend and a node in place of Django's backends."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ava.client.slugs import slug_of
from harness.polling import wait_until
from harness.servers.postgres import Databases
from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import HEADERS, ROOT, SECRET, System
from tests import django_env
from tests.acceptance.conftest import assert_failed_by_intent, running_system

# test_django.py has a project whose tasks use each part of the backend.
pytestmark = [
    pytest.mark.redis,
    pytest.mark.timeout(400),
    pytest.mark.long(
        kept_by="tests/acceptance/test_django.py::test_a_task_returns_its_result_through_the_record_of_its_job"
    ),
]

_HERE = ROOT / "tests/acceptance/django_suite"
_ONE_QUEUE = "a worker has one queue, so using(queue_name=...) of another one is refused"
_IN_MEMORY = "the test changes the stored result in memory, and ours is the record of a job"
_SUPPORTED = "our backend supports what the test expects to be refused"
#: The tests that fail by intent, each with its reason.
_EXPECTED = {
    "DummyBackendTestCase.test_clear": "clear() forgets results in memory; a job stays until its retention ends",
    "DummyBackendTestCase.test_refresh_result": _IN_MEMORY,
    "DummyBackendTestCase.test_refresh_result_async": _IN_MEMORY,
    "DummyBackendTestCase.test_validate_on_enqueue": _ONE_QUEUE,
    "DummyBackendTestCase.test_validate_on_aenqueue": _ONE_QUEUE,
    "ImmediateBackendTestCase.test_validate_on_enqueue": _ONE_QUEUE,
    "ImmediateBackendTestCase.test_validate_on_aenqueue": _ONE_QUEUE,
    "ImmediateBackendTestCase.test_cannot_pass_run_after": _SUPPORTED,
    "ImmediateBackendTestCase.test_cannot_get_result": _SUPPORTED,
    "ImmediateBackendTestCase.test_cannot_refresh_result": _SUPPORTED,
    "ImmediateBackendTestCase.test_throws_keyboard_interrupt": "the task fails on a node, not in the calling process",
    "TaskTestCase.test_unknown_queue_name": _ONE_QUEUE,
    "TaskTestCase.test_using_queue_name": _ONE_QUEUE,
}


@pytest.fixture
def system(_databases: Databases, redis_server: Server, tmp_path: Path) -> Iterator[System]:
    with (
        _databases.fresh(is_pooled=False) as url,
        running_system(tmp_path, url, fresh_redis_url(redis_server), workers=0) as system,
    ):
        yield system


def test_djangos_own_tests_of_tasks_pass_but_for_those_with_a_reason(system: System, tmp_path: Path) -> None:
    python, tests = django_env.python(), django_env.tests_of_django()
    environ = {
        **system.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(_HERE), str(tests))),
        "DJANGO_SETTINGS_MODULE": "suite_settings",
        "AVA_HANDLERS": "ava_django.handlers",
        "AVA_URL": system.url,
        "AVA_TENANT_ID": HEADERS["x-tenant-id"],
        "AVA_USER_ID": HEADERS["x-user-id"],
        "AVA_INTERNAL_SECRET": SECRET,
        "EXPECTED_FAILURES": json.dumps(_EXPECTED),
    }
    log = tmp_path / "node.log"
    with log.open("wb") as output:
        command = (python, "-P", "-m", "ava.cli.main", "worker", "-c", "2")
        node = subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=output, stderr=output)
    try:
        wait_until(lambda: _is_live(system, node, log), seconds=60, what="the node serves the tasks")
        command = (python, _HERE / "run_suite.py")
        done = subprocess.run(
            command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
        )
    finally:
        node.terminate()
        node.wait(60)
    found = json.loads(done.stdout.strip().splitlines()[-1]) if done.stdout.strip() else {}
    assert_failed_by_intent(found, _EXPECTED, done.stderr[-3000:])
    # As many as Django 6.0 has; a later release may have more.
    assert found["run"] >= 76


def _is_live(system: System, node: subprocess.Popen[bytes], log: Path) -> bool:
    assert node.poll() is None, log.read_text()[-3000:]
    response = system.get(f"/v1/ava/workers/wkr_{slug_of('tasks.tasks.noop_task')}")
    return bool(response.ok and response.json()["data"]["live"])
