"""Schedules, subscriptions, hooks, workers and tenants are created, changed, cleared and deleted by commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.system import System
from tests.commands import ava, on_a_terminal

pytestmark = pytest.mark.parametrize("module_broker_url", ["redis"], indirect=True)


def test_schedules_are_managed_by_commands(fleet: System) -> None:
    arguments = ("schedules", "create", "wkr_sleep", "30 2 * 10 0L", "Europe/Berlin", "--input", '{"seconds": 0}')
    made = json.loads(ava(fleet, *arguments, "--overlap", "skip", "--paused", "--key", "autumn").stdout)
    assert (made["overlap"], made["enabled"], made["next_run_at"]) == ("skip", False, None)
    resumed = json.loads(ava(fleet, "schedules", "resume", made["id"]).stdout)
    assert resumed["next_run_at"]
    paused = json.loads(ava(fleet, "schedules", "pause", made["id"], "--reason", "holidays").stdout)
    assert (paused["enabled"], paused["paused"]["reason"]) == (False, "holidays")
    slot = json.loads(ava(fleet, "schedules", "next", made["id"], "--count", "1").stdout)
    assert (slot["slot"][10:], slot["at"], slot["note"]) == ("T02:30", resumed["next_run_at"], "overlap")
    assert json.loads(ava(fleet, "schedules", "run", made["id"]).stdout)["trigger"] == "manual"
    assert json.loads(ava(fleet, "schedules", "list", "--paused").stdout)["id"] == made["id"]
    assert ava(fleet, "schedules", "list", "--not-paused").stdout == ""
    _, listed = on_a_terminal(fleet, "schedules", "list")
    assert all(word in listed for word in ("CRON", "paused"))
    _, shown = on_a_terminal(fleet, "schedules", "show", made["id"], "--firings", "5")
    assert "30 2 * 10 0L" in shown
    assert f"by {paused['paused']['by']['id']} since" in shown
    assert ": holidays" in shown
    assert "The schedule has not fired yet." in shown
    changed = ava(fleet, "schedules", "update", made["id"], "--cron", "0 4 * * *", "--name", "nightly")
    assert [json.loads(changed.stdout)[name] for name in ("cron", "name")] == ["0 4 * * *", "nightly"]
    cleared = ava(fleet, "schedules", "update", made["id"], "--unset", "name")
    assert [json.loads(cleared.stdout)[name] for name in ("cron", "name")] == ["0 4 * * *", None]
    refused = ava(fleet, "schedules", "delete", made["id"])
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert ava(fleet, "schedules", "delete", made["id"], "--yes").returncode == 0
    assert "No such schedule" in ava(fleet, "schedules", "show", made["id"]).stderr


def test_unset_clears_one_setting_and_leaves_the_others(fleet: System) -> None:
    rule = ("--name", "paid", "--match", '{"data": {"paid": [true]}}')
    made = _run(fleet, "subscriptions", "create", "order.*", "wkr_sleep", *rule)
    changed = _run(fleet, "subscriptions", "update", made["id"], "--event-type", "order.paid", "--unset", "match")
    assert (changed["event_type"], changed["name"], changed["match"]) == ("order.paid", "paid", None)
    assert ava(fleet, "subscriptions", "delete", made["id"], "--yes").returncode == 0
    hook = _run(fleet, "hooks", "create", "pulls", "--provider", "github", "--event-type", "pull")
    changed = _run(fleet, "hooks", "update", hook["id"], "--name", "pushes", "--unset", "event_type")
    assert (changed["name"], changed["event_type"]) == ("pushes", None)
    assert ava(fleet, "deliveries", "list", hook["id"], "--status", "skipped").returncode == 0
    assert ava(fleet, "hooks", "delete", hook["id"], "--yes").returncode == 0
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
        assert ava(fleet, resource, "list", "--not-paused").stdout == ""
        _, shown = on_a_terminal(fleet, resource, "show", made["id"])
        assert ": it moves" in shown
        assert ava(fleet, resource, "delete", made["id"], "--yes").returncode == 0


def test_a_change_of_one_limit_of_a_tenant_leaves_the_others(fleet: System) -> None:
    role = ("--role", "platform-admin")
    _run(fleet, "tenants", "update", "ten_limited", "--weight", "2", "--max-running", "5", *role)
    changed = _run(fleet, "tenants", "update", "ten_limited", "--unset", "weight", *role)
    assert (changed["weight"], changed["max_running"]) == (None, 5)
    shown = _run(fleet, "tenants", "show", "ten_limited", *role)
    assert (shown["weight"], shown["max_running"]) == (None, 5)


def _run(system: System, *arguments: str) -> dict[str, Any]:
    """Run a command that prints one record."""
    ended = ava(system, *arguments)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found
