"""Containments in a real browser: the red button with its rehearsal, the banner, live counts and the lift."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ava.domain.secrets.signing import verify
from harness.polling import wait_until
from harness.system import System
from tests.acceptance.dashboard.test_looks import _TARGETS, findings_in_both
from tests.browser import Browser

ACTIVE = {"filter[state]": "active"}
_CATCH_FILES = """
window.caught = [];
URL.createObjectURL = (blob) => { blob.text().then((text) => window.caught.push(text)); return "data:,"; };
"""


def test_a_job_is_contained_from_its_page_and_released_from_the_panel(signed_in: Browser, running: System) -> None:
    later = {"worker_id": "wkr_echo", "input": {}, "tags": {"agent": "a7"}, "priority": 9}
    body = {"scheduled_at": (datetime.now(UTC) + timedelta(days=1)).isoformat(), **later}
    waits = running.post("/v1/ava/jobs", json=body).json()["data"]["id"]
    signed_in.go(f"#/jobs/{waits}")
    signed_in.click("button", "Contain …")
    # The scope is filled in; only the tag is wanted, and the rehearsal counts before anything is held.
    signed_in.await_text("worker wkr_echo", "tag agent=a7", "Now it would hold")
    signed_in.click("label", "worker wkr_echo")
    signed_in.await_text("Choose at least one part.")
    signed_in.click("label", "tag agent=a7")
    signed_in.await_text("Now it would hold")
    assert running.get("/v1/ava/containments", params=ACTIVE).json()["data"] == []
    signed_in.fill("reason", "it repeats itself")
    signed_in.click("dialog button", "Contain")
    signed_in.await_text("is active.", "Contained: tag agent=a7 (it repeats itself).")
    (found,) = running.get("/v1/ava/containments", params=ACTIVE).json()["data"]
    assert found["scope"] == {"tag": {"key": "agent", "value": "a7"}}
    assert running.post("/v1/ava/jobs", json=later).status_code == 409
    signed_in.await_text("Held", "Still running")
    assert findings_in_both(signed_in) == []
    # Its proof is saved as a file once it is complete.
    signed_in.script(_CATCH_FILES)
    signed_in.click(".panel button", "Proof")
    saved = wait_until(lambda: signed_in.script("return window.caught[0]"), what="the proof is saved")
    record, _ = verify(saved, running.get("/.well-known/ava-signing-keys").json())
    assert record["containment"]["id"] == found["id"]
    signed_in.resize(390, 844)
    assert signed_in.script(_TARGETS) == []
    assert signed_in.script("return document.documentElement.scrollWidth") <= 390
    signed_in.click(".panel button", "Lift …")
    signed_in.click("dialog button", "Lift")
    signed_in.await_text("is lifted.")
    shown = "return document.querySelector('.contained') === null"
    wait_until(lambda: signed_in.script(shown), seconds=10, what="the banner is gone")
    assert running.post("/v1/ava/jobs", json=later).status_code == 201
    running.post("/v1/ava/jobs/cancel", json={"filter": {"tags": {"agent": "a7"}}})
