"""Sign-in by an identity provider in a real browser, with the API in processes of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.polling import wait_until
from harness.system import System
from tests.browser import Browser
from tests.identity_provider import SECRET, IdentityProvider
from tests.identity_provider import running as running_provider

_RULES = [
    {"claim": "groups", "value": "ops", "tenant": "ten_test", "role": "tenant-system-admin"},
    {"claim": "groups", "value": "ops", "tenant": "ten_other", "role": "tenant-user"},
]


@pytest.fixture
def provider(running: System, tmp_path: Path) -> Iterator[tuple[System, IdentityProvider]]:
    """An API with a provider, on the database of the other tests of this folder."""
    system = System(tmp_path, database_url=running.database_url, broker_url=running.broker_url, api_processes=1)
    mapping = tmp_path / "mapping.json"
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
            system.start(workers=0, dispatchers=0, environ=environ)
            yield system, provider
        finally:
            system.stop()
    system.assert_clean()


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
