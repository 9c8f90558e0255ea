"""The inbox of approvals in a real browser: by two keys, with a form for the answer, on a phone."""

from __future__ import annotations

from typing import Any

from selenium.webdriver.common.keys import Keys

from harness.polling import wait_until
from harness.system import System
from tests.acceptance.dashboard.test_dashboard import EVIL
from tests.acceptance.dashboard.test_looks import _TARGETS, findings_in_both
from tests.browser import Browser

_COUNT = "return document.querySelector('.side [href=\"#/approvals\"].count')?.innerText ?? ''"


def _ask(running: System, host: str, **more: Any) -> tuple[str, str]:
    """Trigger a job as somebody else; return it and its approval, which is pending."""
    body = {"worker_id": "wkr_restart", "input": {"host": host, **more}}
    job = running.post("/v1/ava/jobs", json=body, headers={"x-user-id": "usr_alice"}).json()["data"]["id"]
    query = {"filter[job_id]": job}
    found = wait_until(
        lambda: running.get("/v1/ava/approvals", params=query).json()["data"], seconds=30, what="it asks for a decision"
    )
    return job, found[0]["id"]


def test_the_oldest_request_is_approved_by_two_keys_and_the_next_is_answered_by_a_form(
    signed_in: Browser, running: System
) -> None:
    (first, oldest), (second, asked) = _ask(running, "db-1"), _ask(running, "db-2", asks=True)
    signed_in.go("#/approvals")
    signed_in.await_text("Restart db-1?", "Restart db-2?", "wkr_restart")
    shown = "return [...document.querySelectorAll('[data-approval]')].map((each) => each.dataset.approval)"
    assert signed_in.script(shown) == [oldest, asked]
    wait_until(lambda: signed_in.script(_COUNT) == "2", seconds=20, what="the frame counts both")
    signed_in.press("a")
    signed_in.await_text("Approve: Restart db-1?", '"db-1"')
    signed_in.press(Keys.ENTER)
    assert running.wait_for(first, "completed")["output"] == {"approved": True, "data": None, "comment": None}
    wait_until(lambda: signed_in.script(_COUNT) == "1", seconds=5, what="the decision is counted at once")
    signed_in.click(f"[data-approval='{asked}']")
    signed_in.await_text("usr_alice, manual", 'The handler calls env.approve("restart").', "not the requester")
    assert findings_in_both(signed_in) == []
    signed_in.press("a")
    signed_in.fill("input.minutes", "soon")
    signed_in.fill("comment", "after the backup")
    signed_in.fill("input.minutes", "15")
    signed_in.click("dialog button", "Approve")
    decision = {"approved": True, "data": {"minutes": 15}, "comment": "after the backup"}
    assert running.wait_for(second, "completed")["output"] == decision
    signed_in.await_text("Approved by usr_test", "after the backup")
    # The form of a new job can ask for one before its start.
    signed_in.go("#/jobs")
    signed_in.click("button", "New job")
    signed_in.fill("worker", "Report")
    signed_in.fill("input", "{}")
    signed_in.click("summary", "More options")
    signed_in.fill("approval", '{"title": "Report it?"}')
    signed_in.click("dialog button", "Trigger")
    signed_in.find("a", "Decide")
    running.post(f"/v1/ava/jobs/{signed_in.address.rpartition('/')[2]}/cancel")


def test_a_request_is_opened_from_its_job_and_denied_on_a_phone(signed_in: Browser, running: System) -> None:
    job, asked = _ask(running, EVIL)
    own = running.trigger("wkr_restart", input={"host": "db-4"})["id"]
    signed_in.resize(390, 844)
    signed_in.go(f"#/jobs/{job}")
    signed_in.click("a", "Decide")
    wait_until(lambda: asked in signed_in.address, what="the request is open")
    signed_in.find("button", "Deny …")
    signed_in.await_text(f"Restart {EVIL}?")
    assert signed_in.script("return window.pwned ?? null") is None
    assert signed_in.script(_TARGETS) == []
    assert signed_in.script("return document.documentElement.scrollWidth") <= 390
    signed_in.click(".panel button", "Deny …")
    signed_in.fill("comment", "not today")
    signed_in.click("dialog button", "Deny")
    assert running.wait_for(job, "completed")["output"] == {"approved": False, "data": None, "comment": "not today"}
    # Who asked is not offered the own request.
    wait_until(lambda: running.show(own)["waits_for"] == "approval", seconds=30, what="the own request waits")
    signed_in.go("#/approvals")
    signed_in.await_text("Nothing to decide here.")
    signed_in.click("[role=tab]", "Pending")
    signed_in.await_text("Restart db-4?")
    running.post(f"/v1/ava/jobs/{own}/cancel")
