"""The client and the operator's commands, against a running system; `test_client_modes` has the client's calls."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ava.client import ApiUnauthorized, Client
from harness.system import ROOT, SECRET, System
from harness.timestamps import LATER_DAY
from tests.commands import ava as _ava
from tests.commands import ava_process as _ava_process
from tests.commands import on_a_terminal as _on_a_terminal

pytestmark = pytest.mark.parametrize("module_broker_url", ["redis"], indirect=True)


def _client(system: System, **options: str) -> Client:
    caller = {"secret": SECRET, "tenant": "ten_test", "user": "usr_test"} | options
    return Client(system.url, **caller)  # type: ignore[arg-type]


@pytest.fixture
def running(fleet: System) -> System:
    """The system of this file, without the jobs of the test before."""
    fleet.query("TRUNCATE jobs, job_logs, bulk_operations")
    return fleet


@pytest.fixture
def client(running: System) -> Iterator[Client]:
    """A client of this system."""
    with _client(running) as client:
        yield client


def test_a_call_survives_an_api_that_comes_back_and_makes_one_job(running: System) -> None:
    assert running.api
    running.api.kill()
    with (
        Client(running.url, secret=SECRET, tenant="ten_test", user="usr_test", retries=8) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        called = thread.submit(client.jobs.trigger, "wkr_sleep", {"seconds": 0})
        running.start_api()
        job = called.result(30)
        assert [found.id for found in client.jobs.list()] == [job.id]


@pytest.mark.parametrize(
    ("language", "name", "command"),
    [("js", "job.mjs", ("node", "job.mjs")), ("go", "job.go", ("go", "run", "job.go"))],
    ids=["js", "go"],
)
def test_the_programs_of_the_documentation_run(
    running: System, language: str, name: str, command: tuple[str, ...], tmp_path: Path
) -> None:
    if shutil.which(command[0]) is None:
        # `make test` installs Node, and Go with CI set.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{command[0]} is not installed")
    if language == "go":
        source = (ROOT / "examples" / "http_client.go").read_text()
    else:
        page = (ROOT / "docs" / "how-to" / "clients.md").read_text()
        source = page.partition(f"```{language}\n")[2].partition("```")[0]
    (tmp_path / name).write_text(source)
    made = running.post("/v1/ava/keys", json={"name": f"docs {language}", "role": "tenant-system-admin"})
    # Without cgo Go compiles without a C compiler.
    environ = {**os.environ, "AVA_URL": running.url, "AVA_API_KEY": made.json()["data"]["token"], "CGO_ENABLED": "0"}
    ended = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("completed ")


# The commands -------------------------------------------------------------------------------------------------------


def test_commands_print_json_when_piped(running: System, tmp_path: Path) -> None:
    payload = tmp_path / "input.json"
    payload.write_text('{"seconds": 0}')
    triggered = _ava_process(running, "jobs", "trigger", "wkr_sleep", "--input", f"@{payload}", "--key", "k")
    job = json.loads(triggered.stdout)
    assert job["status"] == "queued"
    again = json.loads(_ava(running, "jobs", "trigger", "wkr_sleep", "--input", f"@{payload}", "--key", "k").stdout)
    assert again["id"] == job["id"]
    final = json.loads(_ava(running, "jobs", "show", job["id"], "--wait").stdout)
    assert final == running.show(job["id"]) | {
        **{name: final[name] for name in ("created_at", "started_at", "completed_at")},
        "input_bytes": None,
        "output_bytes": None,
        "payload_hidden": False,
    }
    assert [json.loads(line)["id"] for line in _ava(running, "jobs", "list").stdout.splitlines()] == [job["id"]]
    later = ("--set", "seconds=0", "--at", LATER_DAY, "--tag", "a=1")
    tagged = json.loads(_ava(running, "jobs", "trigger", "wkr_sleep", *later).stdout)
    found = _ava(
        running, "jobs", "list", "--tag", "a=1", "--by", tagged["triggered_by"], "--id", tagged["id"][-6:], "-o", "id"
    )
    where = _ava(running, "jobs", "list", "--where", "seconds=0", "--status", "queued", "-o", "id")
    waiting = _ava(running, "jobs", "list", "--waits-for", "schedule", "-o", "id")
    assert found.stdout.split() == where.stdout.split() == waiting.stdout.split() == [tagged["id"]]
    tail = _ava(
        running, "jobs", "logs", job["id"], "--tail", "5", "--grep", "HANDLER", "--since", "1h", "--level", "info"
    )
    assert [json.loads(line)["msg"].split()[-1] for line in tail.stdout.splitlines()][:1] == ["started"]
    logs = _ava(running, "jobs", "logs", job["id"], "-f").stdout.splitlines()
    assert json.loads(logs[0])["msg"] == "Worker handler started"
    assert "wkr_sleep" in _ava(running, "workers", "list").stdout
    limits = {limit["name"]: limit for limit in map(json.loads, _ava(running, "limits", "list").stdout.splitlines())}
    assert (limits["bulk_jobs"]["value"], limits["webhooks"]["used"]) == (1_000, 0)
    assert _ava(running, "sessions", "delete", "--yes").stdout.startswith("sessions ended: ")
    assert json.loads(_ava(running, "jobs", "why", job["id"]).stdout)["sentence"].startswith("completed")
    assert json.loads(_ava(running, "jobs", "retry", job["id"]).stdout)["retry_of"] == job["id"]


def test_a_key_stands_for_the_secret_and_the_tenant(running: System, client: Client) -> None:
    made = json.loads(_ava(running, "keys", "create", "deploy").stdout)
    assert [(key.id, key.token) for key in client.keys.list() if key.name == "deploy"] == [(made["id"], None)]
    with Client(running.url, api_key=made["token"]) as by_key:
        assert by_key.jobs.trigger("wkr_sleep", {"seconds": 0}).triggered_by == made["id"]
    with_key = {"AVA_API_KEY": made["token"], "AVA_INTERNAL_SECRET": "of-another-installation", "AVA_TENANT_ID": ""}
    (job,) = map(json.loads, _ava(running, "jobs", "list", **with_key).stdout.splitlines())
    assert job["triggered_by"] == made["id"]
    refused = _ava(running, "jobs", "list", "--tenant", "ten_other", **with_key)
    assert (refused.returncode, "the key determines the tenant" in refused.stderr) == (1, True)
    assert _ava(running, "keys", "delete", made["id"], "--yes").returncode == 0
    with Client(running.url, api_key=made["token"], retries=0) as by_key, pytest.raises(ApiUnauthorized):
        by_key.jobs.trigger("wkr_sleep")


def test_following_ends_with_the_job_s_own_success_or_failure(running: System) -> None:
    good = _ava_process(running, "jobs", "trigger", "wkr_sleep", "--input", '{"seconds": 0.2}', "--follow")
    assert good.returncode == 0
    assert json.loads(good.stdout.splitlines()[-1])["status"] == "completed"
    bad = _ava_process(running, "jobs", "trigger", "wkr_t_brief", "--input", '{"seconds": -1}', "--follow")
    assert bad.returncode == 1
    assert json.loads(bad.stdout.splitlines()[-1])["status"] == "failed"


def test_on_a_terminal_people_see_tables_colours_and_a_progress_bar(running: System) -> None:
    code, shown = _on_a_terminal(
        running, "jobs", "trigger", "wkr_sleep", "--input", '{"seconds": 1, "steps": 5}', "--follow"
    )
    assert code == 0
    assert "Worker handler started" in shown
    assert "####" in shown
    assert "\x1b[32mcompleted" in shown
    _, listed = _on_a_terminal(running, "jobs", "list")
    assert "WORKER" in listed
    assert "wkr_sleep" in listed
    assert not listed.lstrip().startswith("{")
    _, workers = _on_a_terminal(running, "workers", "list")
    assert "yes" in workers


# The tables are cut by tests/unit/test_cli_output.py.
def test_every_list_fits_a_terminal_of_80_columns(running: System, client: Client) -> None:
    failed = client.jobs.wait(client.jobs.trigger("wkr_t_brief", {"seconds": -1}).id)
    client.jobs.trigger("wkr_sleep", {"seconds": 0}, scheduled_at=LATER_DAY)
    webhook = client.webhooks.create("https://hooks.example.com/a/rather/long/path", ["ava.job.failed"], "s" * 16)
    for arguments in (
        *(("overview", "show"), ("deliveries", "list", webhook.id)),
        *(("series", "show", "--since", "6h"), ("analytics", "show", "--days", "7"), ("jobs", "show", failed.id)),
    ):
        code, shown = _on_a_terminal(running, *arguments, columns=80)
        lines = [re.sub(r"\x1b\[\d+m", "", line) for line in shown.splitlines()]
        # A single text, such as an error, is shown whole.
        assert [line for line in lines if len(line) > 80 and not line.startswith("error")] == []
        assert (code, len(lines) > 0) == (0, True)
    # The last lines of a job are its runs.
    assert [line.split()[:2] for line in lines if line][-2:] == [["RUN", "OUTCOME"], ["1", "failed"]]
    _, listed = _on_a_terminal(running, "jobs", "list", columns=80)
    assert failed.id in listed
    assert "ValueError" in listed
    client.webhooks.delete(webhook.id)


def test_a_shell_completes_ids_and_a_profile_says_where_from(running: System, client: Client, tmp_path: Path) -> None:
    job = client.jobs.trigger("wkr_sleep", {"seconds": 0}, scheduled_at=LATER_DAY)
    config = tmp_path / "config.toml"
    config.write_text(f'[prod]\nurl = "{running.url}"\nsecret = "{SECRET}"\ntenant = "ten_test"\n')
    options = {"AVA_CONFIG": str(config), "AVA_URL": "http://127.0.0.1:1", "AVA_INTERNAL_SECRET": "of-another"}
    refused = _ava(running, "--profile", "prod", "jobs", "list", "-o", "id", **options)
    assert f"chmod 600 {config}" in refused.stderr
    config.chmod(0o600)
    assert _ava(running, "--profile", "prod", "jobs", "list", "-o", "id", **options).stdout == f"{job.id}\n"
    assert _ava(running, "jobs", "list", "-o", "id", AVA_PROFILE="prod", **options).stdout == f"{job.id}\n"
    for words, expected in (
        ("ava --profile prod jobs show job_", job.id),
        ("ava jobs trigger --profile prod wkr_sl", "wkr_sleep"),
        ("ava --profile p", "prod"),
        ("ava jobs trigger --profile prod wkr_sleep --set sec", "seconds="),
    ):
        asked = {"_AVA_COMPLETE": "fish_complete", "COMP_WORDS": words, "COMP_CWORD": words.rpartition(" ")[2]}
        assert expected in _ava(running, **options, **asked).stdout
    script = _ava(running, "completion", "bash").stdout
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=True).returncode == 0


def test_many_jobs_are_retried_and_cancelled_by_commands(running: System, client: Client) -> None:
    failed = [client.jobs.trigger("wkr_t_brief", {"seconds": -1}) for _ in range(2)]
    for job in failed:
        client.jobs.wait(job.id, 60)
    waiting = [client.jobs.trigger("wkr_sleep", {"seconds": 0}, scheduled_at=LATER_DAY) for _ in range(3)]
    # Several ids: each has its outcome, also if one is refused.
    ended = _ava(running, "jobs", "cancel", waiting[0].id, failed[0].id, waiting[1].id)
    assert ended.returncode == 1
    assert [json.loads(line)["id"] for line in ended.stdout.splitlines()] == [waiting[0].id, waiting[1].id]
    assert failed[0].id in ended.stderr
    again = _ava(running, "jobs", "retry", failed[0].id, "--input", '{"seconds": 0}', "--set-priority", "2", "--follow")
    assert again.returncode == 0
    # All that match.
    by_filter = ("jobs", "retry", "--status", "failed", "--created-after", "2025-01-01")
    assert json.loads(_ava(running, "jobs", "retry", "--failed", "--dry-run").stdout) == {"total": 2}
    assert "--yes" in _ava(running, *by_filter).stderr
    done = json.loads(_ava(running, *by_filter, "--yes").stdout)
    assert (done["state"], done["done"]) == ("done", 2)
    code, shown = _on_a_terminal(running, "jobs", "cancel", "--status", "queued", "--worker", "wkr_sleep", "--yes")
    assert (code, "job cancelled." in shown or "jobs cancelled." in shown) == (0, True)
    assert client.jobs.get(waiting[2].id).status == "cancelled"
    for arguments in (("jobs", "cancel"), ("jobs", "cancel", waiting[0].id, "--status", "queued")):
        assert "JOB_IDS" in _ava(running, *arguments).stderr
    listed = [json.loads(line) for line in _ava(running, "operations", "list").stdout.splitlines()]
    assert [found["kind"] for found in listed] == ["cancel", "retry"]
    exported = _ava(running, "jobs", "export", "--status", "cancelled").stdout.splitlines()
    assert {json.loads(line)["id"] for line in exported} >= {job.id for job in waiting}


def test_a_watch_prints_each_job_when_it_changes(running: System, client: Client) -> None:
    environ = {**running.environ, "AVA_URL": running.url, "AVA_TENANT_ID": "ten_test"}
    argv = [sys.executable, "-m", "ava.cli.main", "jobs", "watch", "--every-seconds", "0.5"]
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            job = client.jobs.trigger("wkr_sleep", {"seconds": 0})
            statuses = (json.loads(line)["status"] for line in process.stdout)
            assert next(status for status in statuses if status == "completed")
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
    watched = _ava(running, "jobs", "watch", job.id)
    assert (watched.returncode, json.loads(watched.stdout.splitlines()[-1])["status"]) == (0, "completed")


def test_a_command_that_fails_prints_one_line(running: System) -> None:
    for arguments, options, said in (
        (("jobs", "show", "job_x"), {}, "No such job"),
        (("jobs", "list"), {"AVA_INTERNAL_SECRET": "wrong"}, "x-internal-secret"),
        (("jobs", "list"), {"AVA_URL": "nonsense"}, "AVA_URL"),
        (("jobs", "trigger", "wkr_t_ecoh"), {}, "lists all workers. Did you mean wkr_t_echo?"),
    ):
        ended = _ava_process(running, *arguments, **options)
        assert ended.returncode == 1
        assert said in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1


# Schedules, subscriptions, hooks, workers and tenants ----------------------------------------------------------------


def test_schedules_are_managed_by_commands(fleet: System) -> None:
    arguments = ("schedules", "create", "wkr_sleep", "30 2 * 10 0L", "Europe/Berlin", "--input", '{"seconds": 0}')
    made = json.loads(_ava(fleet, *arguments, "--overlap", "skip", "--paused", "--key", "autumn").stdout)
    assert (made["overlap"], made["enabled"], made["next_run_at"]) == ("skip", False, None)
    resumed = json.loads(_ava(fleet, "schedules", "resume", made["id"]).stdout)
    assert resumed["next_run_at"]
    paused = json.loads(_ava(fleet, "schedules", "pause", made["id"], "--reason", "holidays").stdout)
    assert (paused["enabled"], paused["paused"]["reason"]) == (False, "holidays")
    slot = json.loads(_ava(fleet, "schedules", "next", made["id"], "--count", "1").stdout)
    assert (slot["slot"][10:], slot["at"], slot["note"]) == ("T02:30", resumed["next_run_at"], "overlap")
    assert json.loads(_ava(fleet, "schedules", "run", made["id"]).stdout)["trigger"] == "manual"
    assert json.loads(_ava(fleet, "schedules", "list", "--paused").stdout)["id"] == made["id"]
    assert _ava(fleet, "schedules", "list", "--not-paused").stdout == ""
    _, listed = _on_a_terminal(fleet, "schedules", "list")
    assert all(word in listed for word in ("CRON", "paused"))
    _, shown = _on_a_terminal(fleet, "schedules", "show", made["id"], "--firings", "5")
    assert "30 2 * 10 0L" in shown
    assert f"by {paused['paused']['by']['id']} since" in shown
    assert ": holidays" in shown
    assert "The schedule has not fired yet." in shown
    changed = _ava(fleet, "schedules", "update", made["id"], "--cron", "0 4 * * *", "--name", "nightly")
    assert [json.loads(changed.stdout)[name] for name in ("cron", "name")] == ["0 4 * * *", "nightly"]
    cleared = _ava(fleet, "schedules", "update", made["id"], "--unset", "name")
    assert [json.loads(cleared.stdout)[name] for name in ("cron", "name")] == ["0 4 * * *", None]
    refused = _ava(fleet, "schedules", "delete", made["id"])
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert _ava(fleet, "schedules", "delete", made["id"], "--yes").returncode == 0
    assert "No such schedule" in _ava(fleet, "schedules", "show", made["id"]).stderr


def test_unset_clears_one_setting_and_leaves_the_others(fleet: System) -> None:
    rule = ("--name", "paid", "--match", '{"data": {"paid": [true]}}')
    made = _run(fleet, "subscriptions", "create", "order.*", "wkr_sleep", *rule)
    changed = _run(fleet, "subscriptions", "update", made["id"], "--event-type", "order.paid", "--unset", "match")
    assert (changed["event_type"], changed["name"], changed["match"]) == ("order.paid", "paid", None)
    assert _ava(fleet, "subscriptions", "delete", made["id"], "--yes").returncode == 0
    hook = _run(fleet, "hooks", "create", "pulls", "--provider", "github", "--event-type", "pull")
    changed = _run(fleet, "hooks", "update", hook["id"], "--name", "pushes", "--unset", "event_type")
    assert (changed["name"], changed["event_type"]) == ("pushes", None)
    assert _ava(fleet, "deliveries", "list", hook["id"], "--status", "skipped").returncode == 0
    assert _ava(fleet, "hooks", "delete", hook["id"], "--yes").returncode == 0
    declared = _run(fleet, "workers", "show", "wkr_sleep")["timeout_seconds"]
    changed = _run(fleet, "workers", "update", "wkr_sleep", "--timeout-seconds", "5", "--config", "A=1")
    assert (changed["timeout_seconds"], changed["config"]) == (5, {"A": "1"})
    cleared = _run(fleet, "workers", "update", "wkr_sleep", "--unset", "timeout-seconds", "--unset-config", "A")
    assert (cleared["timeout_seconds"], cleared["config"]) == (declared, {})


def test_hooks_subscriptions_and_webhooks_are_paused_by_commands(fleet: System, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s" * 24)
    created = (
        ("subscriptions", "create", "order.*", "wkr_sleep"),
        ("hooks", "create", "pulls", "--provider", "none"),
        ("webhooks", "create", "https://example.com/", "--secret-file", str(tmp_path / "secret")),
    )
    for resource, *rest in created:
        made = _run(fleet, resource, *rest, "--paused")
        assert made["paused"]["reason"] is None
        assert _run(fleet, resource, "resume", made["id"])["paused"] is None
        paused = _run(fleet, resource, "pause", made["id"], "--reason", "it moves")
        assert paused["paused"]["reason"] == "it moves"
        assert _run(fleet, resource, "list", "--paused")["id"] == made["id"]
        assert _ava(fleet, resource, "list", "--not-paused").stdout == ""
        _, shown = _on_a_terminal(fleet, resource, "show", made["id"])
        assert ": it moves" in shown
        assert _ava(fleet, resource, "delete", made["id"], "--yes").returncode == 0


def test_a_change_of_one_limit_of_a_tenant_leaves_the_others(fleet: System) -> None:
    role = ("--role", "platform-admin")
    _run(fleet, "tenants", "update", "ten_limited", "--weight", "2", "--max-running", "5", *role)
    changed = _run(fleet, "tenants", "update", "ten_limited", "--unset", "weight", *role)
    assert (changed["weight"], changed["max_running"]) == (None, 5)
    shown = _run(fleet, "tenants", "show", "ten_limited", *role)
    assert (shown["weight"], shown["max_running"]) == (None, 5)


def _run(system: System, *arguments: str) -> dict[str, Any]:
    """Run a command that prints one record."""
    ended = _ava(system, *arguments)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found
