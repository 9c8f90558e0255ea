"""What the dashboard shows while the network is cut, and in which zone its times are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from harness.polling import wait_until
from harness.system import SECRET, System
from tests.acceptance.dashboard.test_dashboard import open_part
from tests.browser import Browser


@contextmanager
def cut_network(browser: Browser) -> Iterator[None]:
    """The browser reaches nothing meanwhile."""
    browser.driver.execute_cdp_cmd("Network.enable", {})
    conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **conditions})
    try:
        yield
    finally:
        browser.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **conditions})


def test_a_cut_network_is_a_lasting_banner_and_no_empty_list(signed_in: Browser, running: System) -> None:
    job = running.trigger("wkr_echo")
    running.wait_for(job["id"], "completed")
    signed_in.go("#/jobs")
    signed_in.find(f"[data-job='{job['id']}']")
    loaded = "return performance.getEntriesByType('resource').filter((e) => e.name.includes('/pages/')).length"
    wait_until(lambda: signed_in.script(loaded) >= 7, what="the modules of all pages are there")
    with cut_network(signed_in):
        signed_in.await_text("The API cannot be reached. Updated ")
        age = re.compile(r"Updated [4-9] s ago; trying again\.")
        wait_until(lambda: age.search(signed_in.text), what="the banner lasts, and names the age of what is shown")
        assert signed_in.script("return document.getElementById('main').className") == "dimmed"
        assert job["id"] in signed_in.driver.page_source, "what was there stays"
        signed_in.go("#/webhooks")
        signed_in.await_text("Nothing is loaded yet; trying again.")
        assert "No webhooks yet." not in signed_in.text
        signed_in.go(f"#/jobs/{job['id']}")
        signed_in.await_text("This page could not be loaded", "Try again")
        assert "No such job" not in signed_in.text
    signed_in.click("button", "Try again")
    open_part(signed_in, "log")
    signed_in.await_text("Handler completed in")
    wait_until(lambda: "cannot be reached" not in signed_in.text, what="the banner is gone")
    # Chromium logs each request that failed.
    signed_in.errors()


#: What may happen to one call of a page whose other calls are answered, as the script that makes the response, and the
#: sentence that names it. The one that hangs is the last, because it still hangs when its page is left.
_FAILURES = (
    ("Promise.reject(new TypeError('Failed to fetch'))", "A part of this page was not loaded."),
    ("Promise.resolve(new Response('{\"data\": ['))", "A part of this page was not loaded."),
    ("Promise.resolve(new Response('{\"data\": 7}'))", "A part of this page could not be shown."),
    ("new Promise(() => {})", "A part of this page was not loaded."),
)


def test_a_page_that_responds_is_not_said_to_be_out_of_reach(signed_in: Browser) -> None:
    signed_in.open("/#/")
    signed_in.await_text("Busy processes")
    signed_in.script("window.real = window.fetch")
    for response, sentence in _FAILURES:
        signed_in.script(
            f"window.fetch = (...all) => String(all[0]).includes('/v1/ava/nodes') ? {response} : window.real(...all)"
        )
        said: set[str] = set()

        def is_named(said: set[str] = said, sentence: str = sentence) -> bool:
            said.add(signed_in.script("return document.querySelector('.stale').innerText"))
            return any(sentence in each for each in said)

        wait_until(is_named, seconds=40, what=lambda: f"the banner says {sentence!r}, not {said}")  # noqa: B023
        assert not any("cannot be reached" in each or "not responded" in each for each in said), said
        if "Promise(()" not in response:
            signed_in.script("window.fetch = window.real")
            wait_until(lambda: _has_no_banner(signed_in), what="the banner is gone")
    signed_in.driver.refresh()
    wait_until(lambda: _has_no_banner(signed_in), what="the banner is gone")
    signed_in.errors()


def _has_no_banner(browser: Browser) -> bool:
    return not browser.script("return document.querySelector('.stale:not([hidden])')")


def test_a_slow_response_does_not_say_that_the_api_is_out_of_reach(signed_in: Browser) -> None:
    signed_in.open("/#/keys")
    signed_in.find("h1")
    signed_in.script(
        "const real = window.fetch;"
        "window.fetch = (...all) => new Promise((resolve) => setTimeout(() => resolve(real(...all)), 11000))"
    )
    signed_in.await_text("The API has not responded for 8 s.")
    assert "cannot be reached" not in signed_in.text
    wait_until(lambda: "not responded" not in signed_in.text, what="the response ends the banner")
    signed_in.driver.refresh()


def test_one_clock_names_its_zone_and_can_be_utc(signed_in: Browser, running: System) -> None:
    signed_in.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kolkata"})
    try:
        job = running.trigger("wkr_echo")
        created = running.wait_for(job["id"], "completed")["created_at"]
        signed_in.open(f"/#/jobs/{job['id']}")
        open_part(signed_in, "record")
        signed_in.await_text("Triggered", "GMT+5:30")
        assert f" at {created[11:19]}" not in signed_in.text
        signed_in.click("button", "Times are in GMT+5:30, switch")
        open_part(signed_in, "record")
        signed_in.await_text(f"{created[11:19]} UTC")
        open_part(signed_in, "log")
        signed_in.await_text("Handler completed in")
        shown = signed_in.script("return document.querySelector('.log time').innerText")
        assert shown[:8] == running.logs(job["id"])[0]["ts"][11:19], "the log has the same clock"
        signed_in.open("/")
        signed_in.find("button", "Times are in UTC, switch")
    finally:
        signed_in.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})


def test_a_typed_time_is_read_in_the_zone_that_is_shown(signed_in: Browser, running: System) -> None:
    signed_in.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "America/New_York"})
    try:
        signed_in.open("/")
        assert _scheduled(signed_in, running, "America/New_York") == "2027-06-01T13:00:00Z"
        signed_in.click("button", "Times are in GMT-5, switch")
        assert _scheduled(signed_in, running, "UTC") == "2027-06-01T09:00:00Z"
        # A filter of the list is read and shown in the same zone.
        signed_in.go("#/jobs?filter[created_after]=2027-06-01T09:00:00Z")
        found = signed_in.find("[name='filter[created_after]']")
        wait_until(lambda: found.get_property("value") == "2027-06-01T09:00", what="the filter is shown in UTC")
    finally:
        signed_in.script("localStorage.removeItem('ava.zone')")
        signed_in.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})


def _scheduled(browser: Browser, running: System, zone: str) -> str:
    """Triggers a job for nine o'clock with the form, whose hint names the zone. Returns when it is scheduled."""
    browser.go("#/jobs")
    browser.click("button", "New job")
    browser.fill("worker", "<b>Echo")
    browser.await_text(f"Leave empty to start now; in {zone}")
    browser.find("[name='input']")
    browser.script("document.querySelector('[name=scheduled]').value = '2027-06-01T09:00'")
    browser.click("button", "Trigger")
    job_id = wait_until(
        lambda: browser.script("return location.hash.startsWith('#/jobs/job_') && location.hash.slice(7)"),
        what="the page of the new job",
    )
    return str(running.show(job_id)["scheduled_at"])


def test_an_operator_sees_that_a_node_refuses_messages(browser: Browser, running: System) -> None:
    running.query("UPDATE nodes SET refused_messages = '{unsigned}', refused_messages_at = now()")
    try:
        browser.enter(SECRET, role="platform-admin")
        browser.open("/#/nodes")
        browser.await_text(
            "This node refuses messages of the broker (unsigned): the node's AVA_MESSAGE_KEY lacks the signing key"
        )
    finally:
        running.query("UPDATE nodes SET refused_messages_at = NULL")


def test_busy_slots_are_counted_apart_from_busy_processes(browser: Browser, running: System) -> None:
    running.query(
        """INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes, has_slots, busy, seen_at)
           VALUES (gen_random_uuid(), 'slots@x', 'x', 1, '1', '{}', '{}', 200, true, 3, now() + interval '1 minute')"""
    )
    try:
        browser.enter(SECRET, role="platform-admin")
        browser.await_text("Busy slots")
        facts = browser.script("return [...document.querySelectorAll('strong')].map((each) => each.innerText)")
        assert {"0 of 3", "3 of 200"} <= set(facts), facts
        browser.open("/#/nodes")
        browser.await_text("3 of 200 slots")
    finally:
        running.query("DELETE FROM nodes WHERE name = 'slots@x'")
