"""The pages of records in a real browser: their filters, the panel beside the list, and a phone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from harness.polling import wait_until
from harness.system import SECRET, System
from tests.acceptance.dashboard.test_looks import findings_in_both
from tests.browser import Browser

#: The panel has read its record, and no longer slides in.
_IS_FILLED = """
const panel = document.querySelector(".panel");
return panel && !panel.innerText.includes("Loading") && panel.getAnimations().length === 0;
"""
#: The panel covers the screen, and its page does not scroll sideways.
_COVERS = """
const { left, right } = document.querySelector(".panel").getBoundingClientRect();
return left <= 0.5 && right >= innerWidth - 0.5 && document.documentElement.scrollWidth <= innerWidth;
"""


def test_a_dialog_is_open_before_the_key_that_follows_the_click(signed_in: Browser, running: System) -> None:
    signed_in.go("#/events")
    button = signed_in.find("button", "Send an event")
    opens = "arguments[0].click(); return document.activeElement.closest('dialog')?.open"
    assert signed_in.script(opens, button)


def test_an_event_is_sent_found_by_its_type_and_read_in_a_panel(signed_in: Browser, running: System) -> None:
    running.post("/v1/ava/events", json={"type": "shop.closed", "data": {}})
    signed_in.go("#/events")
    signed_in.click("button", "Send an event")
    signed_in.fill("type", "shop.opened")
    signed_in.fill("data", '{"door": 7}')
    signed_in.click("button", "Send")
    signed_in.await_text("Sent. It started 0 jobs.", "shop.opened", "shop.closed")
    signed_in.fill("type", f"shop.opened{Keys.ENTER}")
    wait_until(lambda: "shop.closed" not in signed_in.text, what="only the sought type is shown")
    signed_in.find("button", "Remove the filter Type shop.opened")
    signed_in.tab_to("shop.opened")
    signed_in.press(Keys.ENTER)
    signed_in.find(".panel")
    signed_in.await_text('"door": 7')
    # A copied link shows the same filter and the same panel.
    assert "id=evt_" in signed_in.address
    signed_in.press(Keys.ESCAPE)
    wait_until(lambda: signed_in.script("return document.querySelector('.panel') === null"), what="the panel is closed")
    focused = "return document.activeElement.dataset.event ?? null"
    wait_until(lambda: signed_in.script(focused), what="the focus is back on the row")
    signed_in.click("button", "Remove the filter Type shop.opened")
    signed_in.await_text("shop.closed")


def test_a_subscription_is_changed_in_its_panel(signed_in: Browser, running: System) -> None:
    body = {"event_type": "shop.visited", "worker_id": "wkr_echo", "match": {"data": {"door": [7]}}}
    made = running.post("/v1/ava/subscriptions", json=body).json()["data"]["id"]
    signed_in.go("#/subscriptions")
    signed_in.click(f"[data-subscription='{made}']")
    signed_in.await_text('"door"', "The input is the whole event.")
    signed_in.click("button", "Edit")
    signed_in.fill("name", "Visitors")
    signed_in.script("document.querySelector('dialog [name=match]').value = ''")
    signed_in.click("button", "Save")
    signed_in.await_text("Every event of the type matches.")
    found = running.get(f"/v1/ava/subscriptions/{made}").json()["data"]
    assert (found["name"], found["match"], found["event_type"]) == ("Visitors", None, "shop.visited")
    signed_in.click("button", "Delete")
    signed_in.click("button", "Delete subscription")
    wait_until(lambda: "shop.visited" not in signed_in.text, what="it is deleted, and its panel is closed")


def test_the_audit_trail_is_filtered_by_a_click(signed_in: Browser, running: System) -> None:
    running.post("/v1/ava/events", json={"type": "shop.audited", "data": {}})
    wait_until(
        lambda: running.get("/v1/ava/audit", params={"filter[action]": "events.send"}).json()["data"],
        what="the request is recorded",
    )
    signed_in.go("#/audit")
    signed_in.click("a", "events.send")
    signed_in.find("button", "Remove the filter Action events.send")
    actions = "return [...document.querySelectorAll('[data-label=Action] > a')].map((each) => each.innerText)"
    wait_until(lambda: set(signed_in.script(actions)) == {"events.send"}, what="only this action is shown")
    signed_in.click("button", "Remove the filter Action events.send")
    wait_until(lambda: len(set(signed_in.script(actions))) > 1, what="all actions are shown")


def test_workers_are_found_by_name_and_status(signed_in: Browser) -> None:
    shown = "return [...document.querySelectorAll('[data-worker]')].map((each) => each.dataset.worker)"
    signed_in.go("#/workers")
    signed_in.find("[data-worker='wkr_report']")
    signed_in.fill("q", f"report{Keys.ENTER}")
    wait_until(lambda: signed_in.script(shown) == ["wkr_report"], what="one worker has this name")
    signed_in.click("[role=tab]", "Deprecated")
    signed_in.await_text("No workers match this filter.")
    assert signed_in.address == "#/workers?q=report&status=deprecated"


@pytest.fixture
def records(running: System) -> Iterator[dict[str, str]]:
    """One record of each page with a panel: its id by the name of the page."""
    secret = "made up, a secret"
    bodies: dict[str, tuple[str, dict[str, Any]]] = {
        "webhooks": ("/v1/webhooks", {"url": running.url, "events": ["ava.job.failed"], "secret": secret}),
        "hooks": ("/v1/ava/hooks", {"name": "panels", "provider": "github", "worker_id": "wkr_echo"}),
        "subscriptions": ("/v1/ava/subscriptions", {"event_type": "shop.paneled", "worker_id": "wkr_echo"}),
        "schedules": ("/v1/ava/schedules", {"worker_id": "wkr_echo", "cron": "0 3 * * *", "timezone": "UTC"}),
    }
    made = {name: running.post(path, json=body).json()["data"]["id"] for name, (path, body) in bodies.items()}
    event = running.post("/v1/ava/events", json={"type": "shop.shown", "data": {"door": "long" * 200}})
    node = running.get("/v1/ava/nodes").json()["data"][0]
    yield made | {"events": event.json()["data"]["id"], "nodes": node["id"]}
    for name, (path, _) in bodies.items():
        running.request("DELETE", f"{path}/{made[name]}")


def test_each_panel_is_accessible_and_fills_a_phone(browser: Browser, records: dict[str, str]) -> None:
    browser.enter(SECRET, role="platform-system-admin")
    found = {}
    for page, record in records.items():
        browser.resize(1280)
        browser.go(f"#/{page}?id={record}")
        wait_until(lambda: browser.script(_IS_FILLED), what=f"the panel of {page} is filled")
        found[page] = findings_in_both(browser)
        browser.resize(390, 844)
        wait_until(lambda: browser.script(_COVERS), what=f"the panel of {page} fills the phone")
        browser.click("button", "Close")
        wait_until(lambda: browser.script("return document.querySelector('.panel') === null"), what=f"{page}: closed")
    assert {place: problems for place, problems in found.items() if problems} == {}
