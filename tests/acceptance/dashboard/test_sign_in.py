"""Sign-in by an identity provider in a real browser, with the API in processes of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from selenium.webdriver.common.keys import Keys

from harness.polling import wait_until
from harness.system import ROOT, System
from tests.browser import Browser
from tests.identity_provider import SECRET, IdentityProvider
from tests.identity_provider import running as running_provider

_RULES = [
    {"claim": "groups", "value": "ops", "tenant": "ten_test", "role": "tenant-system-admin"},
    {"claim": "groups", "value": "ops", "tenant": "ten_other", "role": "tenant-user"},
]


@contextmanager
def _with_provider(system: System, folder: Path, **start: Any) -> Iterator[IdentityProvider]:
    """Start a system whose people sign in at a provider."""
    mapping = folder / "mapping.json"
    mapping.write_text(json.dumps({"rules": _RULES}))
    with running_provider(system.url) as provider:
        provider.set_person("alice", groups=["ops"], name="Alice A.")
        environ = {
            "AVA_PUBLIC_URL": system.url,
            "AVA_OIDC_ISSUER": provider.issuer,
            "AVA_OIDC_CLIENT_ID": "ava",
            "AVA_OIDC_CLIENT_SECRET": SECRET,
            "AVA_OIDC_MAPPING": str(mapping),
        }
        try:
            system.start(environ={**environ, **start.pop("environ", {})}, **start)
            yield provider
        finally:
            system.stop()
    system.assert_clean()


@pytest.fixture
def provider(running: System, tmp_path: Path) -> Iterator[tuple[System, IdentityProvider]]:
    """An API with a provider, on the database of the other tests of this folder."""
    system = System(tmp_path, database_url=running.database_url, broker_url=running.broker_url, api_processes=1)
    with _with_provider(system, tmp_path, workers=0, dispatchers=0) as provider:
        yield system, provider


def test_a_person_signs_in_switches_its_tenant_and_signs_out(
    browser: Browser, provider: tuple[System, IdentityProvider]
) -> None:
    system, identity_provider = provider
    page = Browser(browser.driver, system.url)
    host = identity_provider.issuer.removeprefix("http://")
    page.open("/#/workers")
    page.click("a", f"Sign in with {host}")
    # The person is led to the page for which it came.
    page.await_text("Alice A.", "Sign out")
    wait_until(lambda: page.address == "#/workers", what="the page of the address")
    page.click("button", "Tenant ten_test, switch")
    page.fill("tenant", "ten_other")
    page.click("button", "View")
    page.find("button", "Tenant ten_other, switch")
    assert "?tenant=ten_other" in page.script("return location.href")
    page.open("/?tenant=ten_other#/jobs")
    page.find("button", "Tenant ten_other, switch")
    page.click("button", "Sign out")
    wait_until(lambda: page.script("return location.host") == host, what="the provider signs out, too")
    page.open("/")
    page.find("a", f"Sign in with {host}")
    browser.driver.get("about:blank")
    # The page of the provider loads a font from elsewhere.
    assert [each for each in browser.errors() if each.startswith(system.url) and "401" not in each] == []


def test_a_hook_starts_the_triage_of_the_cookbook_and_a_person_decides_while_every_process_is_killed(
    browser: Browser, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    environ = {
        "AVA_HANDLERS": "triage",
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "examples/cookbook"))),
    }
    system = System(tmp_path, database_url=database_url, broker_url=redis_url, api_processes=1)
    with _with_provider(system, tmp_path, environ=environ) as identity_provider:
        incident = {"id": "inc_7", "host": "web-3", "failed_logins": 40}
        fields = {name: {"$get": f"data.{name}"} for name in incident}
        hook = {"name": "alerts", "provider": "none", "worker_id": "wkr_triage", "input": fields}
        url = system.post("/v1/ava/hooks", json=hook).json()["data"]["url"]
        (job,) = requests.post(url, json=incident, timeout=30).json()["data"]["job_ids"]
        _kill_all(system)
        wait_until(
            lambda: system.show(job)["waits_for"] == "approval", seconds=60, what="the handler asks for a decision"
        )
        _kill_all(system)
        page = Browser(browser.driver, system.url)
        page.open("/#/approvals")
        page.click("a", f"Sign in with {identity_provider.issuer.removeprefix('http://')}")
        page.await_text("Isolate web-3?")
        page.press("a")
        page.await_text("Approve: Isolate web-3?")
        page.press(Keys.ENTER)
        wait_until(lambda: _decisions(system, job), what="the decision is stored")
        browser.driver.get("about:blank")
        _kill_all(system)
        record = system.wait_for(job, seconds=60)
        assert (record["status"], record["output"]) == ("completed", {"severity": "high", "isolated": True})
        journal = system.get(f"/v1/ava/jobs/{job}/journal").json()["data"]
        entries = [("step", "assess", "done"), ("approval", "isolate", "done"), ("step", "isolate", "done")]
        assert sorted((each["kind"], each["name"], each["state"]) for each in journal) == sorted(entries)
        (decision,) = _decisions(system, job)
        assert (decision["by"]["kind"], decision["by"]["via"]) == ("user", "oidc")
        audit = system.get("/v1/ava/audit", params={"filter[action]": "approvals.approve"}).json()["data"]
        assert [entry["actor"] for entry in audit] == [decision["by"]]
        # The page of the provider loads a font from elsewhere.
        assert [each for each in browser.errors() if each.startswith(system.url) and "401" not in each] == []


def _kill_all(system: System) -> None:
    """Kill every process of a system at once, and start it again."""
    assert system.api
    killed = [system.api, *system.workers, *system.dispatchers]
    children = [child for process in killed for child in process.children]
    for process in killed:
        process.kill()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    system.workers.clear()
    system.dispatchers.clear()
    system.start()


def _decisions(system: System, job: str) -> list[dict[str, Any]]:
    (approval,) = system.get("/v1/ava/approvals", params={"filter[job_id]": job}).json()["data"]
    return list(approval["decisions"])
