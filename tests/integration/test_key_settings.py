"""Keys in settings: each documented form of a key starts every process, and an invalid key is one line."""

from __future__ import annotations

import base64

import pytest

from ava import settings as settings_module
from ava.errors import SettingsError
from harness.polling import wait_until
from harness.system import System
from tests.integration.test_doctor import found


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_keys_in_every_documented_form_are_valid_for_doctor_and_start_every_process(system: System) -> None:
    # Both alphabets differ in these bytes, and the setting takes several keys: each process decodes all forms.
    standard = base64.b64encode(b"\xfb\xff\xbf" * 10 + b"\xfb\xff").decode()
    url_safe = base64.urlsafe_b64encode(b"\xff\xef\xbe" * 10 + b"\xff\xef").decode()
    assert {"+", "/"} <= set(standard)
    assert {"-", "_"} <= set(url_safe)
    forms = (standard, url_safe, standard.rstrip("="), url_safe.rstrip("="))
    keys = {name: ",".join(forms) for name in ("AVA_ENCRYPTION_KEY", "AVA_SIGNING_KEY")}
    keys["AVA_MESSAGE_KEY"] = ",".join((*forms, "5e" * 32))
    found_ok = found(system, "settings", "encryption", **keys)
    assert all(line.startswith("ok") for line in found_ok.values()), found_ok
    system.start(webhooks=1, environ=keys | {"AVA_WEBHOOK_ALLOW_PRIVATE": "1"})
    system.start_worker("--slots", "2", concurrency=0)
    webhook = {"url": "http://127.0.0.1:9/", "events": ["ava.job.completed"], "secret": "s3cret-of-the-tests"}
    assert system.post("/v1/webhooks", json=webhook).status_code == 201
    secrets = {"secrets": {"TOKEN": "the-token-of-the-tests"}}
    assert system.request("PATCH", "/v1/ava/workers/wkr_sleep", json=secrets).status_code == 200
    assert system.wait_for(system.trigger("wkr_sleep", input={"seconds": 0})["id"])["status"] == "completed"
    # The sender has opened the webhook's secret if it has tried to deliver.
    tried = "SELECT 1 FROM webhook_deliveries WHERE failures > 0"
    wait_until(lambda: system.query(tried), seconds=20, what="the sender has tried to deliver")
    # Without padding and of the other alphabet the first key is the same one.
    other = {name: url_safe_of(standard) for name in ("AVA_ENCRYPTION_KEY", "AVA_SIGNING_KEY")}
    assert "decrypts the secrets of all" in found(system, "encryption", **other)["encryption"]


def url_safe_of(key: str) -> str:
    """Return the same key in the URL-safe alphabet and without padding."""
    return key.translate(str.maketrans("+/", "-_")).rstrip("=")


@pytest.mark.parametrize("name", ["AVA_ENCRYPTION_KEY", "AVA_SIGNING_KEY", "AVA_MESSAGE_KEY"])
@pytest.mark.parametrize("key", ["sesame", "sesame" * 4 + "=====", "é" * 20])
def test_an_invalid_key_is_one_line_that_names_the_setting_without_its_value(name: str, key: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings_module.load({"DATABASE_URL": "postgresql://ava@db/ava", "BROKER_URL": "redis://broker/0", name: key})
    assert str(refused.value).startswith(f"{name}: each key must be 32 bytes in base64")
    assert key not in str(refused.value)
