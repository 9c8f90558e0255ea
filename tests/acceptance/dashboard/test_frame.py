"""The frame of the dashboard: sidebar, counts, palette, the drawer on a phone, and the bytes of the first load."""

from __future__ import annotations

import json

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from harness.polling import wait_until
from harness.system import SECRET, System
from tests.acceptance.dashboard.test_looks import findings, findings_in_both
from tests.browser import Browser
from tests.unit.test_dashboard_modules import STATIC, first_load

_COUNTS = "return [...document.querySelectorAll('.side .count')].map((each) => each.getAttribute('aria-label'))"
_FOUND = "return [...document.querySelectorAll('.palette [role=option]')].map((each) => each.innerText)"
_ACTIVE = """
const input = document.activeElement;
return document.getElementById(input.getAttribute("aria-activedescendant"))?.innerText ?? "";
"""


def _open_palette(browser: Browser, text: str) -> None:
    """Open the palette by its key, and type."""
    ActionChains(browser.driver).key_down(Keys.CONTROL).send_keys("k").key_up(Keys.CONTROL).perform()
    browser.find(".palette input")
    browser.press(text)


def test_the_palette_finds_a_job_by_id_tag_and_input_and_opens_it(signed_in: Browser, running: System) -> None:
    job = running.trigger("wkr_echo", input={"text": "palette-7"}, tags={"team": "palette"})
    running.wait_for(job["id"], "completed")
    for text in (job["id"], "tag:team=palette", "input.text:palette-7"):
        _open_palette(signed_in, text)
        wait_until(
            lambda: any(job["id"][-8:] in each for each in signed_in.script(_FOUND)),
            what=lambda text=text: f"{text} finds the job in {signed_in.script(_FOUND)}",
        )
        assert job["id"][-8:] in signed_in.script(_ACTIVE), "the first job is the one that Enter opens"
        signed_in.press(Keys.ENTER)
        wait_until(lambda: signed_in.address == f"#/jobs/{job['id']}", what="its page is open")
        signed_in.go("#/keys")
        signed_in.find("main h1", "API keys")
    _open_palette(signed_in, "tag:team=palette")
    wait_until(lambda: any("All jobs for" in each for each in signed_in.script(_FOUND)), what="the list is offered")
    signed_in.press(Keys.ARROW_DOWN, Keys.ENTER)
    wait_until(
        lambda: signed_in.address.endswith("filter[tag.team]=palette"), what="the list of the tag's jobs is open"
    )


def test_the_palette_finds_pages_and_workers_and_runs_actions(signed_in: Browser, running: System) -> None:
    _open_palette(signed_in, "subscr")
    wait_until(lambda: "Subscriptions" in signed_in.script(_ACTIVE), what="the page is offered")
    assert findings(signed_in) == []
    signed_in.press(Keys.ENTER)
    wait_until(lambda: signed_in.address == "#/subscriptions", what="the page is open")
    signed_in.find("main h1")
    _open_palette(signed_in, "Report")
    wait_until(
        lambda: any("wkr_report" in each for each in signed_in.script(_FOUND)),
        what=lambda: f"the worker is offered in {signed_in.script(_FOUND)}",
    )
    signed_in.press(Keys.ESCAPE)
    wait_until(lambda: signed_in.script("return document.querySelector('dialog') === null"), what="the palette is gone")
    dark = "return document.documentElement.dataset.theme"
    _open_palette(signed_in, "dark")
    wait_until(lambda: "Toggle theme" in signed_in.script(_ACTIVE), what="the action is offered")
    signed_in.press(Keys.ENTER)
    wait_until(lambda: signed_in.script(dark) == "dark", what="the action has run")
    assert signed_in.address == "#/subscriptions"
    _open_palette(signed_in, "new job")
    wait_until(lambda: "New job" in signed_in.script(_ACTIVE), what="the action is offered")
    signed_in.press(Keys.ENTER)
    signed_in.find("dialog [name='worker']")


def test_the_palette_is_open_before_the_key_that_follows_its_own(signed_in: Browser) -> None:
    # Its module is loaded by then.
    _open_palette(signed_in, "")
    signed_in.press(Keys.ESCAPE)
    wait_until(lambda: signed_in.script("return document.querySelector('dialog') === null"), what="the palette is gone")
    opens = (
        "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'k', ctrlKey: true, bubbles: true }));"
        "return document.activeElement.closest('dialog')?.open"
    )
    assert signed_in.script(opens)


def test_the_palette_offers_nothing_that_the_role_may_not_do(browser: Browser, running: System) -> None:
    browser.enter(SECRET, role="tenant-user")
    _open_palette(browser, "")
    wait_until(lambda: len(browser.script(_FOUND)) > 5, what="pages are offered")
    found = " ".join(browser.script(_FOUND))
    assert "New job" not in found
    assert "Tenants" not in found
    assert "View another tenant" not in found


def test_the_sidebar_counts_open_errors_and_what_is_paused(browser: Browser, running: System) -> None:
    failed = running.trigger("wkr_fail")
    running.wait_for(failed["id"], "failed")
    platform = {"x-platform-role": "platform-admin"}
    running.post("/v1/ava/queues/default/pause", json={"reason": "a move"}, headers=platform).raise_for_status()
    try:
        wait_until(
            lambda: running.get("/v1/ava/errors?filter[status]=open").json()["data"],
            seconds=60,
            what="the failure is counted",
        )
        browser.enter(SECRET)
        wait_until(
            lambda: any(each.endswith(" open") for each in browser.script(_COUNTS)),
            what=lambda: f"errors are counted in {browser.script(_COUNTS)}",
        )
        browser.click(".side .count.bad")
        wait_until(lambda: browser.address == "#/errors", what="the count leads to the errors")
    finally:
        running.post("/v1/ava/queues/default/resume", json={}, headers=platform).raise_for_status()


def test_the_sidebar_stays_as_narrow_as_it_was_made(signed_in: Browser) -> None:
    signed_in.resize(1440, 900)
    width = "return document.querySelector('.side').offsetWidth"
    assert signed_in.script(width) > 180
    signed_in.click("button", "Narrow the sidebar")
    wait_until(lambda: signed_in.script(width) < 70, what="it is narrow")
    wait_until(lambda: signed_in.script("return document.querySelector('h1') !== null"), what="the page is shown")
    assert findings(signed_in) == []
    # An icon alone is still the link of its page.
    signed_in.tab_to("Jobs")
    signed_in.press(Keys.ENTER)
    wait_until(lambda: signed_in.address == "#/jobs", what="the page is open")
    signed_in.open("/#/jobs")
    signed_in.find("main h1")
    assert signed_in.script(width) < 70, "it is kept"
    signed_in.click("button", "Widen the sidebar")
    wait_until(lambda: signed_in.script(width) > 180, what="it is wide")


def test_a_phone_has_the_main_pages_at_the_bottom_and_the_others_in_a_drawer(browser: Browser) -> None:
    browser.enter(SECRET, role="platform-admin")
    browser.resize(390, 844)
    browser.find(".bottom a", "Jobs")
    low = "return [...document.querySelectorAll('.bottom > *')].map((each) => each.getBoundingClientRect().bottom)"
    assert max(browser.script(low)) <= 844.5
    browser.click(".bottom a", "Jobs")
    wait_until(lambda: browser.address == "#/jobs", what="the page is open")
    browser.click(".bottom a", "Overview")
    browser.find("main h1", "Overview")
    is_open = "return document.querySelector('.side').checkVisibility()"
    browser.click(".bottom button", "Menu")
    browser.find(".side nav a", "Tenants")
    assert findings_in_both(browser) == []
    browser.click(".bottom button", "Menu")
    wait_until(lambda: not browser.script(is_open), what="the drawer is closed")
    browser.click(".bottom button", "Menu")
    browser.click(".side nav a", "Keys")
    wait_until(lambda: browser.address == "#/keys", what="the page is open")
    wait_until(lambda: not browser.script(is_open), what="the drawer has closed with the page's opening")
    browser.click(".bottom button", "Find")
    browser.find(".palette input")
    assert browser.script("return document.documentElement.scrollWidth <= innerWidth")
    assert findings(browser) == []


def test_the_first_load_transfers_at_most_160_kib(signed_in: Browser, running: System) -> None:
    # The modules of other pages follow when the browser is idle.
    needed = {str(path.relative_to(STATIC)) for path in first_load()}
    signed_in.driver.execute_cdp_cmd("Network.enable", {})
    signed_in.driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
    try:
        signed_in.open("/")
        signed_in.await_text("Sign out", "Waiting", "Run time")
        signed_in.find(".uplot canvas")
        found = signed_in.script(
            "return performance.getEntriesByType('resource').map((e) => [new URL(e.name).pathname, e.transferSize])"
        )
        sizes = {name: size for name, size in found if name.split("/", 3)[-1] in needed}
        assert len(sizes) > 30
        assert all(sizes.values()), "nothing comes from the cache"
        assert sum(sizes.values()) <= 160 * 1024, json.dumps(sizes, indent=1)
    finally:
        signed_in.driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": False})
