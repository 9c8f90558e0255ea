"""Notices in a real browser: created with rules, tested, changed and deleted."""

from __future__ import annotations

from harness.polling import wait_until
from harness.system import System
from tests.acceptance.dashboard.test_looks import _TARGETS, findings_in_both
from tests.browser import Browser


def test_a_notice_is_created_tested_changed_and_deleted(signed_in: Browser, running: System) -> None:
    signed_in.go("#/notices")
    signed_in.click("button", "New notice")
    signed_in.fill("name", "On call")
    signed_in.fill("channel", "Webhook")
    signed_in.fill("target", f"{running.url}/livez")
    signed_in.click("label", "backlog")
    signed_in.click("dialog button", "Create")
    signed_in.await_text("On call", "backlog in default older than 5 min")
    (made,) = running.get("/v1/ava/notices").json()["data"]
    assert [rule["event"] for rule in made["on"]] == ["job.failed", "backlog"]
    signed_in.click(".panel button", "Test")
    signed_in.await_text("Test message queued.")
    signed_in.find(".delivery")
    assert findings_in_both(signed_in) == []
    signed_in.resize(390, 844)
    assert signed_in.script(_TARGETS) == []
    assert signed_in.script("return document.documentElement.scrollWidth") <= 390
    signed_in.click(".panel button", "Edit")
    signed_in.click("label", "job.failed")
    signed_in.click("label", "error.opened")
    signed_in.click("dialog button", "Save")
    wait_until(
        lambda: (
            [rule["event"] for rule in running.get("/v1/ava/notices").json()["data"][0]["on"]]
            == ["error.opened", "backlog"]
        ),
        what="the rules are changed",
    )
    # The other rule keeps its conditions.
    (changed,) = running.get("/v1/ava/notices").json()["data"]
    assert changed["on"][1] == made["on"][1]
    signed_in.click(".panel button", "Delete")
    signed_in.click("button", "Delete notice")
    signed_in.await_text("No notices yet.")
