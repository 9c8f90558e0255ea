"""The dashboard's sessions in a real browser: every tab, an EventSource, a link that signs in, another tenant."""

from __future__ import annotations

import requests

from harness.polling import wait_until
from harness.system import SECRET, System
from tests.browser import Browser


def test_every_tab_is_signed_in_and_signing_out_ends_all(signed_in: Browser, running: System) -> None:
    job = running.trigger("wkr_echo", input={"text": "in another tab"})
    assert SECRET not in signed_in.script("return JSON.stringify({...sessionStorage, ...localStorage}) + location.href")
    assert signed_in.script("return document.cookie") == "", "no script reads the cookie"
    cookie = signed_in.driver.get_cookies()
    first = signed_in.driver.current_window_handle
    signed_in.driver.switch_to.new_window("tab")
    signed_in.open(f"/#/jobs/{job['id']}")
    signed_in.await_text("in another tab", "Sign out")
    opened = """const [path, done] = arguments;
        const source = new EventSource(path);
        source.addEventListener("end", () => { source.close(); done("ended"); });
        source.onerror = () => done("failed");"""
    found = signed_in.driver.execute_async_script(opened, f"/v1/ava/jobs/{job['id']}/stream")
    assert found == "ended", "an EventSource, which sends no headers, has the cookie"
    signed_in.click("button", "Sign out")
    signed_in.find("[name='secret']")
    assert signed_in.script("return document.querySelector('[name=tenant]').value") == "ten_test", "remembered"
    signed_in.driver.close()
    signed_in.driver.switch_to.window(first)
    signed_in.find("[name='secret']")
    jar = {found["name"]: found["value"] for found in cookie}
    # Another process of the API may know of the session for 1.5 s more.
    wait_until(
        lambda: requests.get(f"{running.url}/v1/ava/session", cookies=jar, timeout=9).status_code == 401,
        what="the session itself has ended, not the browser's cookie alone",
    )


def test_a_link_signs_in_once_and_its_tenant_can_be_switched(browser: Browser, running: System) -> None:
    body = {"worker_id": "wkr_echo", "input": {"text": "of the other tenant"}}
    theirs = running.post("/v1/ava/jobs", json=body, headers={"x-tenant-id": "ten_other"}).json()["data"]
    platform = {"x-platform-role": "platform-system-admin"}
    link = running.post("/v1/ava/session/links", headers=platform).json()["data"]["path"]
    browser.open(link)
    browser.find("button", "Sign in with the link")
    assert browser.script("return document.cookie + localStorage.length") == "0", "nobody is signed in unasked"
    browser.click("button", "Sign in with the link")
    browser.await_text("Sign out", "Ended per minute")
    assert "link=" not in browser.script("return location.href")
    browser.click("button", "Tenant ten_test, switch")
    browser.fill("tenant", "ten_other")
    browser.click("button", "View")
    browser.find("button", "Tenant ten_other, switch")
    assert "?tenant=ten_other" in browser.script("return location.href")
    browser.go("#/jobs")
    browser.find(f"[data-job='{theirs['id']}']")
    # A pasted link names its tenant, whatever was looked at last.
    browser.open(f"/?tenant=ten_test#/jobs/{theirs['id']}")
    browser.await_text("No such job")
    browser.open(f"/?tenant=ten_other#/jobs/{theirs['id']}")
    browser.await_text("of the other tenant")
    browser.click("button", "Sign out")
    browser.open(link)
    browser.click("button", "Sign in with the link")
    browser.await_text("The link was already used")
    browser.errors()
