"""A worker's own page, and the form of a new job that is made from a worker's schema, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from harness.polling import wait_until
from harness.system import SECRET, System
from tests.browser import Browser
from tests.commands import ava

_FAULT = "return document.getElementById(arguments[0].id + '-error')?.innerText ?? ''"


@pytest.fixture
def form(signed_in: Browser) -> Iterator[Browser]:
    """The form of a new job on the page of the worker with a schema."""
    signed_in.go("#/workers/wkr_order")
    signed_in.find("[name='input.customer']")
    yield signed_in
    # Chromium logs each answer that refuses an input.
    assert [message for message in signed_in.errors() if "422" not in message] == []


def _fault(browser: Browser, path: str) -> str:
    found: str = browser.script(_FAULT, browser.find(f"[name='{path}']"))
    return found


def test_a_job_is_made_by_the_fields_of_its_schema(form: Browser, running: System) -> None:
    form.fill("input.customer", "Ada\nLovelace")
    form.fill("input.count", "3")
    form.fill("input.price", "1.5")
    form.fill("input.express", "true")
    form.fill("input.size", "3")
    form.fill("input.codes", "7\n8")
    form.fill("input.address.city", "Köln")
    form.fill("input.anything", '{"deep": [null]}')
    form.click("button", "Trigger")
    job_id = wait_until(
        lambda: form.script("return location.hash.startsWith('#/jobs/') && location.hash.slice(7)"), what="its page"
    )
    assert running.wait_for(job_id, "completed")["input"] == {
        "customer": "Ada\nLovelace",
        "count": 3,
        "price": 1.5,
        "express": True,
        "size": 3,
        "codes": [7, 8],
        "address": {"city": "Köln"},
        "anything": {"deep": [None]},
    }


def test_faults_are_shown_at_their_fields_and_leave_with_them(form: Browser) -> None:
    form.fill("input.codes", "7\n100")
    form.fill("input.address.floor", "2")
    form.click("button", "Trigger")
    wait_until(lambda: "missing" in _fault(form, "input.customer"), what="the API's error at its field")
    assert "missing" in _fault(form, "input.address.city")
    assert _fault(form, "input.codes") == "codes[1]: It is greater than the maximum of 99."
    assert _fault(form, "input.count") == ""
    assert form.script("return document.activeElement.name") == "input.customer"
    # What no field can hold is found before anything is sent.
    form.fill("input.codes", "seven")
    form.click("button", "Trigger")
    wait_until(
        lambda: "seven is not a number." in _fault(form, "input.codes"), what="the page's own error at its field"
    )
    assert _fault(form, "input.customer") == ""


def test_a_form_and_json_stand_for_the_same_input(form: Browser) -> None:
    form.fill("input.customer", "Ada")
    form.click("button", "As JSON")
    assert json.loads(form.find("[name='input']").get_attribute("value")) == {"customer": "Ada", "address": {}}
    form.fill("input", '{"customer": "Grace", "codes": [1, 2], "express": false, "address": {"city": "Bonn"}}')
    form.click("button", "As a form")
    shown = {name: form.find(f"[name='input.{name}']").get_attribute("value") for name in ("customer", "codes")}
    assert shown == {"customer": "Grace", "codes": "1\n2"}
    # An input that the fields cannot show stays JSON.
    form.click("button", "As JSON")
    form.fill("input", '{"customer": "Grace", "address": {"city": "Bonn"}, "unknown": 1}')
    form.click("button", "As a form")
    form.await_text("The form cannot show a part of this input.")
    form.click("button", "Trigger")
    form.await_text("input.unknown", "It is unknown")


def test_the_page_shows_and_changes_the_settings_of_a_worker(signed_in: Browser, running: System) -> None:
    job = running.trigger("wkr_order", input={"customer": "Ada", "address": {"city": "Bonn"}})
    running.wait_for(job["id"], "completed")
    signed_in.go("#/workers")
    signed_in.click("a", "Order")
    signed_in.await_text("Success rate", "Newest jobs", "100 %", '"customer"', "Version", "No secrets.", seconds=30)
    assert signed_in.find(f"[data-job='{job['id']}']")
    signed_in.click("button", "Last input")
    city = "return document.querySelector('[name=\"input.address.city\"]').value"
    wait_until(lambda: signed_in.script(city) == "Bonn", what="the form has the input of the newest job")
    signed_in.click("button", "Set a secret")
    signed_in.fill("name", "TOKEN")
    signed_in.fill("value", "a made-up secret")
    signed_in.click("button", "Save")
    signed_in.await_text("TOKEN is set.")
    signed_in.click("button", "Set an entry")
    signed_in.fill("name", "REGION")
    signed_in.fill("value", "eu")
    signed_in.click("button", "Save")
    signed_in.click("button", "Change …")
    signed_in.fill("timeout", "30")
    signed_in.fill("retries", "1")
    signed_in.click("button", "Save")
    signed_in.await_text("REGION\neu", "30 s of at most 1 min", "1 of at most 2")
    changed = running.get("/v1/ava/workers/wkr_order").json()["data"]
    assert (changed["secrets"], changed["config"], changed["max_retries"]) == (["TOKEN"], {"REGION": "eu"}, 1)
    assert "a made-up secret" not in signed_in.driver.page_source
    for name in ("TOKEN", "REGION"):
        signed_in.click("button", f"Remove {name}")
        signed_in.click("dialog button", f"Remove {name}")
    signed_in.await_text("No secrets.", "No entries.")
    signed_in.click("button", "Pause …")
    signed_in.fill("reason", "the shop is closed")
    signed_in.click("button", "Pause")
    signed_in.await_text("Paused by usr_test", ": the shop is closed")
    signed_in.click("button", "Deprecate …")
    signed_in.click("button", "Deprecate worker")
    signed_in.await_text("Order is deprecated.")
    signed_in.click("button", "Activate")
    signed_in.await_text("Order is active.")
    assert running.get("/v1/ava/workers/wkr_order").json()["data"]["status"] == "active"


def test_operators_see_that_a_promotion_lost_commits(browser: Browser, running: System) -> None:
    running.query("INSERT INTO promotions (timeline, running, is_lossy) VALUES (900, 12, true)")
    try:
        browser.enter(SECRET, role="platform-admin")
        browser.go("#/nodes")
        browser.await_text("promoted", "without the last commits", "12 runs were checked again")
        shown = ava(running, "promotions", "list", "--role", "platform-admin")
        found = json.loads(shown.stdout.splitlines()[0])
        assert (found["timeline"], found["running"], found["lossy"]) == (900, 12, True)
        assert ava(running, "promotions", "list", "--role", "tenant-admin").returncode == 1
    finally:
        running.query("DELETE FROM promotions WHERE timeline = 900")


@pytest.fixture
def many(running: System) -> Iterator[str]:
    """150 more workers; the last one of all by its id."""
    running.query(
        "INSERT INTO workers (id, name, timeout_seconds, max_retries, cancel_grace_seconds, queue, on_worker_lost)"
        " SELECT 'wkr_z' || lpad(n::text, 3, '0'), 'Many ' || n, 300, 0, 10, 'default', 'requeue'"
        " FROM generate_series(1, 150) AS n RETURNING id"
    )
    yield "wkr_z150"
    running.query("DELETE FROM workers WHERE id LIKE 'wkr\\_z%%' RETURNING id")


def test_beyond_a_hundred_workers_none_is_missing_in_silence(signed_in: Browser, running: System, many: str) -> None:
    count = len(running.get("/v1/ava/workers", params={"per_page": 100}).json()["data"])
    assert count == 100
    signed_in.go("#/workers")
    total = running.get("/v1/ava/workers", params={"per_page": 100}).json()["pagination"]["total"]
    signed_in.await_text(f"{total} workers")
    assert signed_in._find_visible(f"[data-worker='{many}']", None) is None
    signed_in.click("a", "Older")
    signed_in.find(f"[data-worker='{many}']")
    assert signed_in._find_visible("a", "Older") is None, "there are no others"
    signed_in.go("#/jobs")
    signed_in.click("button", "New job")
    signed_in.find("[name='worker']")
    choices = signed_in.script(
        "return [...document.querySelectorAll('[name=worker] option')].map((each) => each.value)"
    )
    assert many in choices
