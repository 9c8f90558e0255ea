"""`ava apply` against a running API."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.servers.postgres import Databases
from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import System
from tests.acceptance.conftest import running_system
from tests.commands import ava

FILE = """
limits:
  ten_test: {weight: 2}
workers:
  wkr_http_request:
    status: paused
    config: {TARGET: s3}
    secrets: {TOKEN: {env: TEST_TOKEN}}
    retry: {max: 0, delays_seconds: [5, 60]}
schedules:
  nightly: {worker_id: wkr_http_request, cron: "0 3 * * *", timezone: Europe/Berlin, starts_at: 2030-01-01T00:00:00Z,
    input: {url: "https://example.com/"}, paused: true}
subscriptions:
  on push: {event_type: github.push, worker_id: wkr_http_request, match: {data: {ref: [main]}}}
hooks:
  github: {provider: github, secret: {env: TEST_TOKEN}}
webhooks:
  http://93.184.216.34/hook: {events: [ava.job.failed], secret: {env: TEST_TOKEN}, paused: true}
"""


@pytest.fixture(scope="module")
def system(_databases: Databases, redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder, broker_url = tmp_path_factory.mktemp("apply"), fresh_redis_url(redis_server)
    with _databases.fresh(is_pooled=False) as url, running_system(folder, url, broker_url, concurrency=1) as system:
        yield system


def _apply(
    system: System, folder: Path, content: str, *options: str, role: str = "platform-admin"
) -> subprocess.CompletedProcess[str]:
    (folder / "ava.yaml").write_text(content)
    with contextlib.chdir(folder):
        return ava(system, "apply", *options, AVA_ROLE=role, TEST_TOKEN="secret-of-the-tests-0123456789")


@pytest.mark.redis
def test_a_file_becomes_what_the_api_has_and_a_changed_one_changes_it(system: System, tmp_path: Path) -> None:
    dry = _apply(system, tmp_path, FILE, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "+ schedules.nightly\n    worker_id: wkr_http_request\n" in dry.stdout
    assert "~ workers.wkr_http_request\n    status: active → paused\n" in dry.stdout
    assert system.get("/v1/ava/schedules").json()["data"] == []
    asks = _apply(system, tmp_path, FILE)
    assert (asks.returncode, "give --yes" in asks.stderr) == (2, True)
    done = _apply(system, tmp_path, FILE, "--yes")
    assert done.returncode == 0, done.stderr
    assert "Applied 6." in done.stdout
    assert "hooks.github: http" in done.stdout
    assert "secret-of" not in dry.stdout + done.stdout
    again = _apply(system, tmp_path, FILE, "--yes", "--prune")
    assert (again.returncode, again.stdout) == (0, "Nothing to apply: the file and the API agree.\n"), (
        again.stdout + again.stderr
    )
    worker = system.get("/v1/ava/workers/wkr_http_request").json()["data"]
    assert (worker["status"], worker["config"], worker["secrets"]) == ("paused", {"TARGET": "s3"}, ["TOKEN"])
    assert worker["retry"] == {"max": 0, "delays_seconds": [5, 60], "jitter": 0.2}
    (webhook,) = system.get("/v1/webhooks").json()["data"]
    (schedule,) = system.get("/v1/ava/schedules").json()["data"]
    # A role of the platform has paused them.
    assert (webhook["paused"]["by"], schedule["paused"]["by"]) == (None, None)

    # A changed file.
    content = FILE.replace("0 3 * * *", "0 4 * * *").replace("on push", "on merge")
    content = content.replace("paused: true", "paused: false").replace("github, secret", "github, paused: true, secret")
    assert _apply(system, tmp_path, content, "--yes", "--prune").returncode == 0
    (schedule,) = system.get("/v1/ava/schedules").json()["data"]
    assert (schedule["cron"], schedule["paused"]) == ("0 4 * * *", None)
    (subscription,) = system.get("/v1/ava/subscriptions").json()["data"]
    assert subscription["name"] == "on merge"
    (webhook,), (hook,) = (system.get(path).json()["data"] for path in ("/v1/webhooks", "/v1/ava/hooks"))
    assert (webhook["paused"], hook["paused"] is None) == (None, False)
    wrong = _apply(system, tmp_path, content.replace("0 4 * * *", "0 99 * * *"), "--yes")
    assert wrong.returncode == 1
    assert "schedules.nightly: " in wrong.stderr
    assert "0 of 1 changes are applied" in wrong.stderr


@pytest.mark.redis
def test_an_entry_that_the_api_does_not_have_or_the_role_may_not_set_is_named(system: System, tmp_path: Path) -> None:
    cure = "Limits need --role platform-admin, or a key of that role."
    for content, role, reason in (
        ("workers: {wkr_unknown: {status: paused}}", "platform-admin", "workers.wkr_unknown: "),
        ("workers: {../jobs: {status: paused}}", "platform-admin", "workers.../jobs: '../jobs' is not an id."),
        ("limits: {Ten A: {weight: 2}}", "platform-admin", "limits.Ten A: "),
        ("limits: {ten_another: {weight: 2}}", "tenant-system-admin", f"limits.ten_another: .* {cure}"),
        ("limits: {ten_test: {weight: 7}}", "tenant-system-admin", f"limits.ten_test: .* {cure}"),
    ):
        done = _apply(system, tmp_path, content, "--yes", role=role)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert re.search(reason, done.stderr), done.stderr


WRONG = """
workers:
  wkr_http_request: {config: {TARGET: s4}}
schedules:
  of an unknown worker: {worker_id: wkr_unknown, cron: "0 3 * * *", timezone: Europe/Berlin}
  with a wrong input: {worker_id: wkr_sleep, cron: "0 3 * * *", timezone: Europe/Berlin, input: {seconds: soon}}
  right: {worker_id: wkr_sleep, cron: "0 3 * * *", timezone: Europe/Berlin, input: {seconds: 1}}
webhooks:
  http://127.0.0.1/hook: {events: [ava.job.failed], secret: {env: TEST_TOKEN}}
  http://93.184.216.34/other: {events: [ava.job.failed], secret: {env: MISSING_TOKEN}}
"""


@pytest.mark.redis
def test_a_dry_run_names_each_change_that_the_api_would_refuse_and_makes_none(system: System, tmp_path: Path) -> None:
    before = [system.get(path).json()["data"] for path in ("/v1/ava/schedules", "/v1/webhooks")]
    done = _apply(system, tmp_path, WRONG, "--dry-run")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 5, done.stderr
    assert lines[0].startswith("schedules.of an unknown worker: "), lines
    assert lines[1].startswith("schedules.with a wrong input: input.seconds: "), lines
    assert lines[2].startswith("webhooks.http://127.0.0.1/hook: url: "), lines
    assert lines[3] == "webhooks.http://93.184.216.34/other: the environment variable MISSING_TOKEN is not set."
    assert lines[4] == "ava: The API would refuse 4 of 6 changes."
    assert [system.get(path).json()["data"] for path in ("/v1/ava/schedules", "/v1/webhooks")] == before
    assert system.get("/v1/ava/workers/wkr_http_request").json()["data"]["config"].get("TARGET") != "s4"
    # A role that may read, and may change nothing.
    user = _apply(system, tmp_path, "schedules: {right: " + RIGHT + "}", "--dry-run", role="tenant-user")
    assert user.returncode == 1
    assert user.stderr.startswith("schedules.right: ")
    assert "ava: The API would refuse 1 of 1 changes." in user.stderr


RIGHT = '{worker_id: wkr_sleep, cron: "0 3 * * *", timezone: Europe/Berlin, input: {seconds: 1}}'


@pytest.mark.redis
def test_an_apply_that_fails_midway_lists_what_is_done_and_a_second_run_continues(
    system: System, tmp_path: Path
) -> None:
    content = f"""
workers: {{wkr_sleep: {{config: {{A: b}}}}}}
schedules:
  first: {RIGHT}
  second: {RIGHT.replace("wkr_sleep", "wkr_unknown")}
  third: {RIGHT}
"""
    failed = _apply(system, tmp_path, content, "--yes")
    assert failed.returncode == 1
    assert failed.stdout.partition("Applied:")[2].splitlines() == [
        "",
        "    ~ workers.wkr_sleep",
        "    + schedules.first",
        "Not applied; remove the cause and repeat the command:",
        "    + schedules.second",
        "    + schedules.third",
    ]
    assert "2 of 4 changes are applied." in failed.stderr
    again = _apply(system, tmp_path, content.replace("wkr_unknown", "wkr_sleep"), "--yes")
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[0] == "+ schedules.second"
    assert again.stdout.splitlines()[-1] == "Applied 2."
    assert "workers.wkr_sleep" not in again.stdout
    assert "schedules.first" not in again.stdout
    # The tests of this file share a system, and come in any order.
    assert _apply(system, tmp_path, "schedules: {}\n", "--yes", "--prune").returncode == 0
