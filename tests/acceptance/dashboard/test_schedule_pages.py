"""The pages of schedules in a real browser: one is made by keyboard alone, and its firings are shown."""

from __future__ import annotations

from selenium.webdriver.common.keys import Keys

from harness.polling import wait_until
from harness.system import SECRET, System
from tests.acceptance.dashboard.test_dashboard import EVIL
from tests.browser import Browser


def test_a_schedule_is_made_in_a_zone_with_an_overlap_by_keyboard_alone(browser: Browser, running: System) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Europe/Berlin"})
    browser.open("/#/schedules")
    browser.find("[name='secret']")
    browser.press(SECRET, Keys.TAB, "ten_test", Keys.TAB, "usr_test", Keys.TAB, "tenant-s", Keys.TAB, Keys.ENTER)
    browser.await_text("No schedules yet.")
    browser.tab_to("New schedule")
    browser.press(Keys.ENTER)
    browser.find("dialog [name='worker']")
    browser.press("Rep", Keys.TAB, "Last Sunday", Keys.TAB)
    for cron, note in (
        ("30 2 * 3 0L", "does not exist that day; fires right after the change"),
        ("30 */2 * 10 0L", "exists twice; fires both times"),
        ("30 2 * 10 0L", "exists twice; fires the first time"),
    ):
        browser.replace(cron)
        browser.await_text(note)
    browser.await_text("At 02:30, on the last Sunday of the month, only in October, Berlin time")
    marks = browser.script("return [...document.querySelectorAll('dialog .slotlist li')].map((li) => li.dataset.note)")
    assert marks == ["overlap"] * 10
    browser.press(Keys.TAB)
    assert browser.script("return document.activeElement.value") == "Europe/Berlin"
    browser.press(Keys.ENTER)
    browser.await_text("Last Sunday", "wkr_report · 30 2 * 10 0L · Europe/Berlin", "1 schedule")
    (made,) = running.get("/v1/ava/schedules").json()["data"]
    assert made["next_run_at"].endswith("T00:30:00Z"), "the first of the two half past two"
    # The panel of the new schedule is open, and has the focus.
    browser.find("button", "Pause Last Sunday")
    browser.tab_to("Pause Last Sunday")
    browser.press(Keys.ENTER)
    browser.replace("holidays")
    browser.press(Keys.ENTER)
    browser.await_text("Paused by usr_test", ": holidays")
    browser.tab_to("Resume Last Sunday")
    browser.press(Keys.ENTER)
    browser.await_text("enabled", "fires the first time")
    browser.tab_to("Run now")
    browser.press(Keys.ENTER)
    browser.await_text("Worker handler started")
    browser.go(f"#/schedules?id={made['id']}")
    browser.find("button", "Delete")
    browser.tab_to("Delete")
    browser.press(Keys.ENTER)
    browser.tab_to("Delete schedule")
    assert browser.errors() == []
    browser.press(Keys.ENTER)
    browser.await_text("No schedules yet.")
    # A refresh that was under way may have asked for the firings of what was deleted.
    assert all(f"/{made['id']}/firings" in message and "404" in message for message in browser.errors())
    browser.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})


def test_firings_are_a_strip_with_the_last_job_s_result(signed_in: Browser, running: System) -> None:
    body = {"worker_id": "wkr_echo", "cron": "* * * * *", "timezone": "UTC", "name": EVIL}
    assert running.post("/v1/ava/schedules", json=body).status_code == 201
    # The dispatcher finds it as it would after minutes in which nothing could fire.
    running.query(
        "UPDATE schedules SET decided_until = now() - interval '9 min 30 s', next_run_at = now() - interval '9 min'"
    )
    signed_in.go("#/schedules")
    signed_in.await_text("wkr_echo · * * * * * · UTC", "completed")
    strip = signed_in.find(".strip[aria-label*=' fired, '][aria-label*='missed']")
    outcomes = signed_in.script("return [...arguments[0].children].map((box) => box.dataset.outcome)", strip)
    assert outcomes[:8] == ["missed"] * 8
    assert "fired" in outcomes[8:]
    assert signed_in.script("return document.querySelectorAll('main img').length") == 0
    signed_in.click("[data-schedule]")
    signed_in.click("button", "Edit")
    signed_in.fill("cron", "0 0 30 2 *")
    signed_in.await_text("no date ever matches")
    signed_in.click("button", "Save")
    signed_in.await_text("day of month: no date ever matches")
    signed_in.click("button", "Close")
    # An interval of seconds takes the place of the pattern, and is edited like it.
    _save_interval(signed_in, "59", open_by="Edit", save_by="Save")
    signed_in.click("button", "Edit")
    signed_in.click("summary", "More options")
    signed_in.fill("approval", '{"title": "Report?"}')
    signed_in.click("dialog button", "Save")
    wait_until(lambda: running.get("/v1/ava/schedules").json()["data"][0]["approval"], what="its jobs need an approval")
    _save_interval(signed_in, "20", open_by="Edit", save_by="Save")
    (saved,) = running.get("/v1/ava/schedules").json()["data"]
    assert (saved["every_seconds"], saved["cron"], saved["timezone"]) == (20, None, None)
    assert saved["approval"]["title"] == "Report?"
    _delete_open(signed_in)
    _save_interval(signed_in, "45", open_by="New schedule", save_by="Create")
    _delete_open(signed_in)
    # Chromium logs each response of 422.
    assert all("422" in message for message in signed_in.errors())


def _save_interval(browser: Browser, seconds: str, *, open_by: str, save_by: str) -> None:
    browser.click("button", open_by)
    browser.fill("worker", "Report")
    browser.fill("every_seconds", seconds)
    browser.await_text(f"Every {seconds} seconds")
    browser.click("button", save_by)
    browser.await_text(f"every {seconds} s")


def _delete_open(browser: Browser) -> None:
    browser.click("button", "Delete")
    browser.click("button", "Delete schedule")
    browser.await_text("No schedules yet.")
