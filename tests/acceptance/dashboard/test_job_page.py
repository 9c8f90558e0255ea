"""The page of a job in a real browser: waterfall, log, payloads beside a retry's, deliveries, large trees."""

from __future__ import annotations

import time

import pytest
from selenium.webdriver.common.keys import Keys

from harness.busy import busy_factor
from harness.polling import wait_until
from harness.system import System
from tests.acceptance.dashboard.test_dashboard import open_part, rows_of
from tests.acceptance.dashboard.test_looks import findings_in_both
from tests.acceptance.ids import uuids
from tests.browser import Browser

_LARGE_TREE = """
INSERT INTO jobs (tenant_id, id, worker_id, status, trigger, priority, queue, input, triggered_by, max_attempts,
                  completed_at, started_at, node_id, run_no, parent_id, tree_id)
SELECT 'ten_test', ava_uuid7(), 'wkr_' || chr(97 + n %% 26), 'completed', 'manual', 5, 'default', '{}', 'usr_test', 1,
       now(), now() - interval '1 s', gen_random_uuid(), 1, %s::uuid, %s::uuid
FROM generate_series(1, 9999) AS n
"""
_DELIVERY = """
INSERT INTO webhook_deliveries (tenant_id, job_id, endpoint_id, event_id, event_type, n, status, due_at, completed_at,
                                history)
SELECT 'ten_test', %s::uuid, ava_uuid7(), ava_uuid7(), 'ava.job.completed', 1, 'abandoned', NULL, now(),
       '[{"number": 1, "at": "2026-12-01T12:00:00Z", "status": 503, "error": null, "duration_ms": 3},
         {"number": 2, "at": "2026-12-01T12:01:00Z", "status": null, "error": "connection refused", "duration_ms": 12}]'
"""
_SIDEWAYS = "return document.documentElement.scrollWidth > innerWidth"
PARTS = ("payloads", "log", "runs", "record", "deliveries")


def _open(browser: Browser, job_id: str) -> None:
    browser.go(f"#/jobs/{job_id}")
    browser.find(".waterfall")


def test_a_failed_attempt_opens_its_reason_and_its_lines_which_lead_to_the_log(
    signed_in: Browser, running: System
) -> None:
    job = running.trigger("wkr_fail", input={"why": "no channel 17"})
    running.wait_for(job["id"], "failed")
    _open(signed_in, job["id"])
    signed_in.click("[data-row=run] button")
    detail = signed_in.find(".span-detail")
    wait_until(lambda: detail.text.startswith("ValueError: no channel 17"), what=lambda: detail.text)
    assert "Worker handler started" in detail.text
    assert "Handler failed after" in detail.text
    open_part(signed_in, "record")
    signed_in.click("button", "Show in the log")
    chosen = signed_in.find(".log p.selected a")
    link = chosen.get_attribute("href")
    assert f"#/jobs/{job['id']}/log?line=" in link
    assert signed_in.driver.current_url == link
    # A copied link shows the line again.
    signed_in.open(f"/{link[link.index('#') :]}")
    assert signed_in.find(".log p.selected a").get_attribute("href") == link


def test_the_waterfall_shows_sleeps_events_and_a_cancelled_run(signed_in: Browser, running: System) -> None:
    job = running.trigger("wkr_approved", input={"order": 17})
    _open(signed_in, job["id"])
    wait_until(lambda: any("event" in name for name, _ in rows_of(signed_in)), what=lambda: rows_of(signed_in))
    names = [name for name, _ in rows_of(signed_in)]
    assert [name.split()[1] for name in names if name.startswith("Wait: ")] == ["sleep", "event"]
    signed_in.click("[data-row=wait]:last-of-type button")
    signed_in.await_text("order.approved")
    running.cancel(job["id"])
    running.wait_for(job["id"], "cancelled")
    cancelled = running.trigger("wkr_sleep", input={"seconds": 60})
    running.wait_for(cancelled["id"], "running")
    _open(signed_in, cancelled["id"])
    wait_until(lambda: rows_of(signed_in) == [["Run", "running"]], what=lambda: rows_of(signed_in))
    signed_in.click("[data-row=run] button")
    running.cancel(cancelled["id"])
    wait_until(lambda: rows_of(signed_in) == [["Run", "cancelled"]], what=lambda: rows_of(signed_in))
    signed_in.await_text("Run cancelled.")


def test_a_retry_shows_its_payloads_beside_those_of_the_job_that_it_retries(
    signed_in: Browser, running: System
) -> None:
    job = running.trigger("wkr_echo", input={"text": "first", "kept": 1})
    running.wait_for(job["id"], "completed")
    body = {"input": {"text": "second", "kept": 1}}
    again = running.post(f"/v1/ava/jobs/{job['id']}/retry", json=body).json()["data"]
    running.wait_for(again["id"], "completed")
    _open(signed_in, again["id"])
    open_part(signed_in, "payloads")
    signed_in.await_text("This job", "The job that it retries", '"first"', '"second"')
    lefts = (
        "return [...document.querySelectorAll('.payloads > section')].map((each) => each.getBoundingClientRect().left)"
    )
    one, other = signed_in.script(lefts)
    assert one < other, "side by side"
    same = running.post(f"/v1/ava/jobs/{again['id']}/retry").json()["data"]
    running.wait_for(same["id"], "completed")
    _open(signed_in, same["id"])
    open_part(signed_in, "payloads")
    signed_in.await_text("Input the same", "Output the same")


def test_the_deliveries_about_a_job_are_on_its_page(signed_in: Browser, running: System) -> None:
    job, other = running.trigger("wkr_echo"), running.trigger("wkr_echo")
    running.query(_DELIVERY, *uuids([job["id"]]))
    signed_in.open(f"/#/jobs/{job['id']}/deliveries")
    signed_in.await_text("abandoned", "job.completed", "2 requests, last: connection refused, 12 ms")
    signed_in.go(f"#/jobs/{other['id']}/deliveries")
    signed_in.await_text("No webhook was sent an event of this job.")


def test_rows_tabs_and_lines_are_reached_by_keyboard(signed_in: Browser, running: System) -> None:
    job = running.trigger("wkr_report", input={"steps": 3, "seconds": 0})
    running.wait_for(job["id"], "completed")
    _open(signed_in, job["id"])
    signed_in.find("[data-row=run] button")
    signed_in.script("document.querySelector('[data-row=run] button').focus()")
    signed_in.press(Keys.ENTER)
    signed_in.await_text("Zoom to it", "Step 3 of 3")
    signed_in.press(Keys.ENTER)
    signed_in.tab_to("Input and output")
    signed_in.press(Keys.ARROW_RIGHT)
    signed_in.find(".job-part[data-part=log]")
    signed_in.await_text("That was all")
    signed_in.script("document.querySelector('.log').focus()")
    signed_in.press(Keys.ENTER, Keys.ARROW_UP)
    line = "return document.activeElement.closest('p')?.querySelector('.msg').innerText"
    assert signed_in.script(line) == "That was all"
    signed_in.press(Keys.ENTER)
    wait_until(lambda: "line=" in signed_in.driver.current_url, what="the line is in the address")
    signed_in.press(Keys.ESCAPE)
    assert signed_in.script("return document.activeElement.className").startswith("log")


# Each of its looks takes seconds of one processor.
@pytest.mark.timeout(300)
def test_no_part_has_a_finding_of_axe_or_scrolls_a_phone_sideways(signed_in: Browser, running: System) -> None:
    job = running.trigger("wkr_fail", input={"why": "long" * 100})
    running.wait_for(job["id"], "failed")
    _open(signed_in, job["id"])
    signed_in.click("[data-row=run] button")
    signed_in.await_text("Show in the log")
    for width in (1440, 390):
        signed_in.resize(width, 844)
        for part in PARTS:
            open_part(signed_in, part)
            assert findings_in_both(signed_in) == [], (width, part)
            assert not signed_in.script(_SIDEWAYS), (width, part)


def test_a_tree_of_10000_jobs_stays_usable(signed_in: Browser, running: System) -> None:
    job = running.trigger("wkr_echo")
    running.wait_for(job["id"], "completed")
    ((root,),) = running.query("SELECT id::text FROM jobs WHERE tenant_id = 'ten_test' ORDER BY id DESC LIMIT 1")
    running.query("UPDATE jobs SET tree_id = id WHERE id = %s::uuid", root)
    running.query(_LARGE_TREE, root, root)
    try:
        started = time.monotonic()
        signed_in.open(f"/#/jobs/{job['id']}/tree")
        signed_in.await_text("10,000 jobs of echo", "10,000 completed", "More rows (9,800 left)", seconds=30)
        assert time.monotonic() - started < 4 * busy_factor()
        # The newest 100 children are in the waterfall, and a link leads to all.
        signed_in.await_text("1,000 or more children")
        longest = signed_in.script(
            "const s = performance.now(); document.querySelector('.times button').click();return performance.now() - s"
        )
        signed_in.await_text("More rows (9,600 left)")
        assert longest < 200 * busy_factor()
    finally:
        running.query("DELETE FROM jobs WHERE parent_id = %s::uuid", root)
