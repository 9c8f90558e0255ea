"""The dashboard's pages of analytics, errors and keys, in a real browser against the whole system."""

from __future__ import annotations

import re

import requests
from selenium.webdriver.common.keys import Keys

from harness.polling import wait_until
from harness.system import System
from tests.browser import Browser, chart_text


def _resolve_others(system: System, worker_id: str) -> bool:
    """Resolve the errors of other tests; one may be counted late. Returns True if none was open."""
    groups = [each for each in system.get("/v1/ava/errors").json()["data"] if each["status"] == "open"]
    for group in groups:
        if group["worker_id"] != worker_id:
            system.post(f"/v1/ava/errors/{group['id']}/resolve")
    return all(each["worker_id"] == worker_id for each in groups)


def test_failed_jobs_become_an_error_that_is_resolved(signed_in: Browser, running: System) -> None:
    for to in ("17", "4", "north"):
        running.wait_for(running.trigger("wkr_route", input={"to": to})["id"], "failed")
    signed_in.go("#/errors")
    signed_in.await_text("LookupError", "no route * · no route north", "3 failed", seconds=30)
    # Jobs are counted in the order of their ends, so all that failed before are counted by now.
    wait_until(lambda: _resolve_others(running, "wkr_route"), what="the errors of other tests are resolved")
    bars = "return document.querySelectorAll('.spark rect').length"
    wait_until(lambda: signed_in.script(bars) == 1, what="one error has failed jobs on one day")
    signed_in.click("button", "Resolve")
    signed_in.await_text("No errors with this status.")
    # A job that fails in this way again opens it again.
    running.wait_for(running.trigger("wkr_route", input={"to": "9"})["id"], "failed")
    signed_in.await_text("4 failed", seconds=30)
    signed_in.click("[data-error]")
    signed_in.await_text("no route *", "no route north")
    signed_in.click("a", "Its jobs")
    signed_in.await_text("no route 17", "no route 4", "no route north", "no route 9")


def test_analytics_show_what_ended(signed_in: Browser, running: System) -> None:
    job = running.trigger("wkr_report", input={"steps": 1, "seconds": 0})
    running.wait_for(job["id"], "completed")
    signed_in.go("#/analytics?days=7")
    signed_in.await_text("Success rate", "wkr_report", "manual", "Ended per day", seconds=30)
    wait_until(lambda: re.match(r"Highest: [1-9]", chart_text(signed_in, "Ended jobs")), what="the chart has the jobs")
    assert re.search(r"p95 [\d.]+ m?s, p99", signed_in.text)
    # A step is read and opened by keyboard alone.
    signed_in.script("document.querySelector('.plot-host').focus()")
    signed_in.press(Keys.ARROW_LEFT, Keys.END)
    wait_until(lambda: re.match(r"\d+ \w+: [1-9]", chart_text(signed_in, "Ended jobs")), what="the day is read")
    signed_in.press(Keys.ENTER)
    signed_in.find(f"[data-job='{job['id']}']")
    assert "completed_before" in signed_in.address


def test_a_key_is_created_used_and_revoked(signed_in: Browser, running: System) -> None:
    signed_in.go("#/keys")
    signed_in.await_text("No API keys yet.")
    signed_in.click("button", "New key")
    signed_in.fill("name", "deploy")
    signed_in.click("button", "Create")
    signed_in.await_text("The token of deploy")
    token = signed_in.find("code.token").text
    signed_in.click("summary", "How to use it")
    assert f'{running.url}/mcp --header "Authorization: Bearer {token}"' in signed_in.find("dialog pre").text
    headers = {"authorization": f"Bearer {token}"}
    assert requests.get(f"{running.url}/v1/ava/jobs", headers=headers, timeout=10).status_code == 200
    signed_in.click("button", "Done")
    signed_in.await_text("tenant-system-admin", f"{token.partition('.')[2][:16]}…")
    signed_in.click("button", "Revoke …")
    signed_in.await_text("Revoke deploy")
    signed_in.click("dialog button[type=submit]", "Revoke")
    signed_in.await_text("No API keys yet.")
    wait_until(
        lambda: requests.get(f"{running.url}/v1/ava/jobs", headers=headers, timeout=10).status_code == 401,
        what="the key is refused",
    )
