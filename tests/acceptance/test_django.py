"""A project of Django 6 whose tasks are jobs, on a node of its own Python."""

from __future__ import annotations

import json
import os
import re
import subprocess
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
from tests import django_env
from tests.acceptance.conftest import running_system

PROJECT = ROOT / "tests/acceptance/django_project"
pytestmark = [pytest.mark.redis, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def system(_databases: Databases, redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder, broker_url = tmp_path_factory.mktemp("django"), fresh_redis_url(redis_server)
    with _databases.fresh(is_pooled=False) as url, running_system(folder, url, broker_url, workers=0) as system:
        yield system


@pytest.fixture(scope="module")
def seen(system: System, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the project has seen, beside a node with its tasks."""
    python, folder = django_env.python(), tmp_path_factory.mktemp("project")
    environ = {
        **system.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(PROJECT))),
        "SHOP_DATABASE": str(folder / "shop.sqlite3"),
        "AVA_HANDLERS": "configured,ava_django.handlers",
        "AVA_CELERY_APPS": "celery_app:app",
        "SENDS_REFUSED_ROWS_AGAIN": _statement_of_the_page(),
        "AVA_URL": system.url,
        "AVA_TENANT_ID": HEADERS["x-tenant-id"],
        "AVA_USER_ID": HEADERS["x-user-id"],
        "AVA_INTERNAL_SECRET": SECRET,
    }
    log = folder / "node.log"
    with log.open("wb") as output:
        command = (python, "-P", "-m", "ava.cli.main", "worker", "-c", "2", "-q", "default,mail")
        node = subprocess.Popen(command, env=environ, cwd=folder, stdout=output, stderr=output)
    try:
        wait_until(lambda: _is_live(system, node, log), seconds=60, what="the node serves the tasks")
        done = subprocess.run(
            (python, PROJECT / "scenario.py"),
            env={**environ, "DJANGO_SETTINGS_MODULE": "settings"},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
    finally:
        node.terminate()
        node.wait(60)
    assert done.returncode == 0, f"{done.stderr[-3000:]}\n{log.read_text()[-3000:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _statement_of_the_page() -> str:
    """Returns the statement by which docs/how-to/outbox.md sends refused rows again."""
    (found,) = re.findall(r"^ {4}(UPDATE ava_outbox .+)$", (ROOT / "docs/how-to/outbox.md").read_text(), re.MULTILINE)
    return found


def _is_live(system: System, node: subprocess.Popen[bytes], log: Path) -> bool:
    assert node.poll() is None, log.read_text()[-3000:]
    response = system.get(f"/v1/ava/workers/wkr_{slug_of('shop.tasks.pay')}")
    return bool(response.ok and response.json()["data"]["live"])


def test_a_task_returns_its_result_through_the_record_of_its_job(seen: dict[str, Any]) -> None:
    found = seen["results"]
    assert found["enqueued"] == "READY"
    assert (found["pay"]["status"], found["paid"]) == ("SUCCESSFUL", True)
    assert found["pay"]["value"]["pair"] == [1, 2]
    assert found["context"]["value"] == [1, 50, found["id_of_context"], "hello"]
    assert (found["context"]["args"], found["context"]["kwargs"]) == ([], {"word": "hello"})
    assert (found["async"]["status"], found["async"]["value"]) == ("SUCCESSFUL", 1)
    assert found["read"] == [50, "shop.tasks.context_of", True, True]
    assert found["async_read"] is True
    assert found["mismatch"] is not None
    assert found["unknown"] is not None


def test_a_failed_task_shows_its_own_exception_and_a_retried_one_its_attempts(seen: dict[str, Any]) -> None:
    found = seen["results"]
    assert found["fail"]["status"] == "FAILED"
    assert found["fail"]["errors"] == [["shop.tasks.NoSuchOrder", ["shop.tasks.NoSuchOrder: 17"]]]
    assert found["exception"] == "NoSuchOrder"
    assert (found["flaky"]["value"], found["flaky"]["attempts"]) == (2, 2)


def test_a_connection_that_a_task_has_broken_reaches_no_other_task(seen: dict[str, Any]) -> None:
    assert seen["results"]["broken"] == ["SUCCESSFUL"] * 4
    assert seen["results"]["after_broken"] == "SUCCESSFUL"


def test_djangos_priorities_are_those_of_jobs_and_kept_in_a_tag(seen: dict[str, Any]) -> None:
    assert (seen["results"]["job_priority"], seen["results"]["tags"]) == (3, {"django_priority": "50"})
    expected = {"-100": 10, "-99": 10, "-50": 7, "-1": 5, "0": 5, "1": 5, "25": 4, "50": 3, "99": 1, "100": 1}
    assert seen["refusals"]["priorities"] == expected


def test_a_task_is_cancelled_and_retried(seen: dict[str, Any]) -> None:
    found = seen["cancels"]
    assert (found["run_after"], found["same"], found["same_run_after"]) == (True, True, True)
    for name in ("later", "running"):
        assert (found[name]["status"], found[name]["errors"][0][0]) == ("FAILED", "ava_django.results.TaskCancelled")
    assert found["retried"][:2] == ["READY", True]


def test_a_task_in_the_outbox_is_enqueued_exactly_when_its_transaction_commits(seen: dict[str, Any]) -> None:
    found = seen["outbox"]
    assert (found["before"], found["rolled_back"]) == ("READY", True)
    assert found["said"] == "Looked at 1 row.\n"
    assert (found["sent"]["status"], found["sent"]["value"]) == ("SUCCESSFUL", 1)
    assert (found["cancelled"]["status"], found["cancelled"]["attempts"]) == ("FAILED", 0)


def test_a_retry_of_a_task_of_the_outbox_leaves_its_result_as_it_was(seen: dict[str, Any]) -> None:
    found = seen["outbox"]
    assert found["retried"] == [True, True, found["sent"]]


def test_a_task_that_was_never_enqueued_says_why_and_stays_cancelled(seen: dict[str, Any]) -> None:
    cancelled, waits, refused = seen["outbox"]["never_enqueued"]
    assert cancelled == "InvalidTask: The task was cancelled before it was enqueued; enqueue it again."
    assert "waits in the outbox" in waits
    assert "refused the task" in refused
    assert refused.endswith("ApiRefused: too large")
    # After the statement of docs/how-to/outbox.md.
    assert seen["outbox"]["sent_again"] == ["FAILED", "READY"]


def test_an_id_that_no_result_has_is_not_found(seen: dict[str, Any]) -> None:
    assert seen["outbox"]["no_results"] == [True] * 6


def test_a_celery_task_of_the_project_gets_no_connection_of_another_task(seen: dict[str, Any]) -> None:
    found = seen["celerys"]
    assert found["were_open"] == [False] * 6
    assert (found["count"], found["error"]) == (1, None)


def test_the_check_of_the_project_says_what_is_missing(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AVA_")} | {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(PROJECT))),
        "DJANGO_SETTINGS_MODULE": "settings",
        "SHOP_DATABASE": str(tmp_path / "shop.sqlite3"),
    }
    command = (django_env.python(), "-m", "django", "check")
    for given, reason in (({}, "or set AVA_URL"), ({"AVA_URL": "http://127.0.0.1:1"}, "or set AVA_API_KEY")):
        done = subprocess.run(command, env=environ | given, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, "ava_django.E001" in done.stderr, reason in done.stderr) == (1, True, True), (
            done.stderr
        )


def test_what_cannot_be_is_refused_by_its_name(seen: dict[str, Any]) -> None:
    found = seen["refusals"]
    assert found["queue"].startswith("InvalidTask: shop.tasks.pay has the queue 'default'")
    assert found["no_json"] is True
    assert found["checks"] == []
    assert "urll" in found["option"]
