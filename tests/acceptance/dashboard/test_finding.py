"""Finding a job in the dashboard, lists that stay light, and long logs; in a real browser."""

from __future__ import annotations

import re
import time

from selenium.webdriver.common.keys import Keys

from harness.busy import busy_factor
from harness.polling import wait_until
from harness.system import System
from harness.timestamps import LATER
from tests.acceptance.dashboard.test_dashboard import open_part
from tests.browser import Browser

_LARGE_JOBS = """
INSERT INTO jobs (tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by, max_attempts,
                  completed_at, started_at, node_id, run_no, output, output_bytes)
SELECT 'ten_test', 'wkr_large', 'completed', 'manual', 5, 'default', '{}', 'usr_test', 1, now(), now(),
       gen_random_uuid(), 1, to_json(repeat('x', 760000)), 760002
FROM generate_series(1, 25)
"""
#: Every five-thousandth line is an error.
_LONG_LOG = """
INSERT INTO job_logs (tenant_id, job_id, seq, times, levels, msgs)
SELECT (SELECT tenant_id FROM jobs WHERE id = '{uuid}'), '{uuid}', 8589934592 + n, ARRAY[now()],
       CASE WHEN n %% 5000 = 0 THEN 'e' ELSE 'i' END, ARRAY['Row ' || n || ' copied']
FROM generate_series(1, 100000) AS n
"""
#: The bytes that requests for lists of jobs have transferred, those of the rows among them, how many times the rows
#: were read, and the time.
_TRANSFERRED = """
const lists = performance.getEntriesByType("resource").filter(({ name }) => name.includes("/v1/ava/jobs?"));
const rows = lists.filter(({ name }) => !name.includes("per_page=1&"));
const size = (entries) => entries.reduce((sum, { transferSize }) => sum + transferSize, 0);
return [size(lists), size(rows), rows.length, performance.now()];
"""


#: Whether a line is in the middle of the log's part that is on the screen.
_SEES_LINE = """
const box = document.querySelector(".log").getBoundingClientRect();
const middle = (Math.max(0, box.top) + Math.min(innerHeight - 60, box.bottom)) / 2;
// There are gaps between the lines.
return [-8, 0, 8].some((y) => document.elementFromPoint(box.left + 30, middle + y)?.closest(".log p"));
"""

#: A search by a value of the input.
WHERE = 'input.why="channel Zürich-17 is gone"'


def _search(browser: Browser, query: str) -> None:
    browser.fill("search", query)
    browser.press(Keys.ENTER)


def test_a_job_is_found_by_its_id_its_error_its_user_and_its_tags(signed_in: Browser, running: System) -> None:
    fields = {"input": {"why": "channel Zürich-17 is gone"}, "tags": {"team": "säfe"}, "priority": 3}
    job = running.trigger("wkr_fail", **fields)
    running.wait_for(job["id"], "failed")
    # Letters alone are taken for a part of an error, and about one id in twenty has no digit there.
    while not all(re.search(r"\d", part) for part in (job["id"][-8:], job["id"][12:22])):
        running.query("DELETE FROM jobs WHERE worker_id = 'wkr_fail' RETURNING id")
        job = running.trigger("wkr_fail", **fields)
        running.wait_for(job["id"], "failed")
    for query in (job["id"], job["id"][-8:], job["id"][12:22], f"job_…{job['id'][-8:]}"):
        _search(signed_in, query)
        wait_until(lambda: signed_in.address == f"#/jobs/{job['id']}", what=f"{query} opens the job")
        signed_in.await_text("channel Zürich-17 is gone")
        assert signed_in.driver.title == f"failed · wkr_fail · job_…{job['id'][-8:]} · AVA Jobs"
        signed_in.go("#/jobs")
    signed_in.click("a", "Jobs")
    for query in ("error:zürich-17", "zürich-17 is", "tag:team=säfe", "worker:fail user:usr_test priority:3", WHERE):
        _search(signed_in, query)
        wait_until(lambda: "filter[" in signed_in.address, what="the filter is in the address")
        signed_in.find(f"[data-job='{job['id']}']")
        signed_in.await_text("1 job")
        signed_in.click("a", "Clear")
    _search(signed_in, "error:there-is-no-such-text")
    signed_in.await_text("No jobs match this filter.")
    assert signed_in.find(".chip").text.split() == ["Error", "there-is-no-such-text"]
    assert signed_in.driver.title == "Jobs, there-is-no-such-text · AVA Jobs"


def test_jobs_are_found_by_what_they_wait_for_and_their_pages_say_it(signed_in: Browser, running: System) -> None:
    dated = running.trigger("wkr_echo", scheduled_at=LATER)["id"]
    signed_in.go("#/jobs")
    _search(signed_in, "waits:schedule")
    wait_until(lambda: signed_in.address == "#/jobs?filter[waits_for]=schedule", what="the filter is in the address")
    row = signed_in.find(f"[data-job='{dated}']")
    assert row.find_element("css selector", ".pill[data-state='scheduled']").get_attribute("title") == (
        "Waits for its scheduled time"
    )
    _search(signed_in, "waits:retry")
    signed_in.await_text("No jobs match this filter.")
    signed_in.go(f"#/jobs/{dated}")
    open_part(signed_in, "record")
    signed_in.await_text("Waits for", "its scheduled time")


_READ = """
const main = document.querySelector("script[src$='/main.js']").src;
return import(new URL("search.js", main)).then(({ readSearch }) => readSearch(arguments[0]));
"""


def test_words_are_read_as_what_people_mean_by_them(signed_in: Browser, running: System) -> None:
    made = "01kq3w5v8f4b1vtrbwr8zt0y9h"
    for query, found in {
        "key_not_found": {"filter[error]": "key_not_found"},
        f"key_{made}": {"filter[triggered_by]": f"key_{made}"},
        f"err_{made}": {"filter[error_id]": f"err_{made}"},
        "status:error": {"filter[status]": "failed"},
        "Status: canceled worker:x": {"filter[status]": "cancelled", "filter[worker_id]": "wkr_x"},
        "waits:Retry": {"filter[waits_for]": "retry"},
        "ValueError: no such key": {"filter[error]": "ValueError: no such key"},
        '"12345"': {"filter[error]": "12345"},
        "12345": {"filter[id]": "12345"},
    }.items():
        assert signed_in.script(_READ, query) == found
    _search(signed_in, "status:odd")
    signed_in.await_text("Unknown status “odd”: use one of queued, running, completed, failed, cancelled.")
    # A number that no id has is looked for in the errors, and so is one that is in both.
    job = running.trigger("wkr_fail", input={"why": "order 918273 is gone"})
    running.wait_for(job["id"], "failed")
    _search(signed_in, "918273")
    wait_until(lambda: signed_in.address == "#/jobs?filter[error]=918273", what="it is a part of an error")
    signed_in.find(f"[data-job='{job['id']}']")


def test_the_view_of_the_list_is_chosen_and_is_in_the_address(signed_in: Browser, running: System) -> None:
    running.trigger("wkr_echo", tags={"team": "columns"})
    signed_in.go("#/jobs?filter[tag.team]=columns")
    signed_in.click("summary", "View")
    signed_in.find(".menu label", "User").click()
    signed_in.await_text("usr_test")
    # The menu stays open, because the page is not drawn again.
    signed_in.click(".menu label", "Exact times")
    wait_until(lambda: re.search(r"\d+ [A-Z][a-z]{2}, \d\d:\d\d:\d\d", signed_in.text), what="the time")
    signed_in.fill("density", "Compact")
    signed_in.find(".jobs.compact")
    assert "times=exact&density=compact" in signed_in.address
    signed_in.click("button", "Save this view")
    signed_in.fill("name", "mine")
    signed_in.click("button", "Save")
    assert "density=compact" in signed_in.find(".views a", "mine").get_attribute("href")
    assert "columns=status,job,worker,user,tags,created,duration" in signed_in.address
    signed_in.driver.refresh()
    signed_in.await_text("usr_test", "1 job")
    signed_in.script("localStorage.clear()")
    # The search offers every worker.
    signed_in.fill("find", "worker:")
    wait_until(lambda: signed_in.script("return !!document.querySelector('option[value=\"worker:echo\"]')"), what="it")


def test_a_filter_changes_the_rows_alone_and_keeps_the_focus(signed_in: Browser, running: System) -> None:
    tags = {"team": "focus"}
    first, second = (running.trigger("wkr_echo", priority=priority, tags=tags)["id"] for priority in (2, 1))
    for job_id in (first, second):
        running.wait_for(job_id, "completed")
    signed_in.go("#/jobs?filter[tag.team]=focus")
    signed_in.find(f"[data-job='{second}']")
    signed_in.script("document.querySelectorAll('main *').forEach((each) => { each.old = true; })")
    for selector, keys, shown in (
        ("[name=sort]", "Least", first),
        ("[name=last]", "Last h", first),
        ("[role=tab][aria-selected=true]", (Keys.ARROW_RIGHT,), None),
    ):
        signed_in.script("document.querySelector(arguments[0]).focus()", selector)
        signed_in.press(*keys)
        if shown is None:
            signed_in.await_text("No jobs match this filter.")
        else:
            _await_first_row(signed_in, shown)
        focused = "const e = document.activeElement; return [e.old, e.matches(arguments[0])]"
        assert signed_in.script(focused, selector) == [True, True]
    signed_in.click("a", "Clear")
    _await_first_row(signed_in, second)
    assert signed_in.script("return [...document.querySelectorAll('.filters select')].map((e) => e.value)") == [""] * 2
    assert signed_in.find("[role=tab][aria-selected=true]").text.startswith("All")


def _await_first_row(browser: Browser, job_id: str) -> None:
    first = "return document.querySelector('[data-job]')?.dataset.job"
    wait_until(lambda: browser.script(first) == job_id, what=f"{job_id} is the first")


def test_an_open_list_of_large_jobs_transfers_less_than_a_megabyte_a_minute(
    signed_in: Browser, running: System
) -> None:
    running.query(_LARGE_JOBS)
    signed_in.go("#/jobs?filter[worker_id]=wkr_large")
    signed_in.await_text("25 jobs")
    signed_in.script("performance.clearResourceTimings()")
    started = signed_in.script("return performance.now()")
    size, rows_size, count, now = wait_until(
        lambda: (found := signed_in.script(_TRANSFERRED))[2] >= 3 and found, seconds=60, what="the list is read again"
    )
    assert count >= 3
    assert size / (now - started) * 60_000 < 1_000_000
    # Unchanged rows are not sent again.
    assert rows_size < 3 * 2_000


def test_a_log_of_100000_lines_opens_at_its_end_and_is_searched(signed_in: Browser, running: System) -> None:
    job = running.trigger("wkr_echo", input={"text": "Hello"})
    running.wait_for(job["id"], "completed")
    ((uuid,),) = running.query("SELECT id::text FROM jobs ORDER BY id DESC LIMIT 1")
    running.query(_LONG_LOG.format(uuid=uuid))
    started = time.monotonic()
    signed_in.go(f"#/jobs/{job['id']}/log")
    signed_in.await_text("Row 100000 copied", "last 500 lines")
    assert time.monotonic() - started < 1.5 * busy_factor()
    log = "document.querySelector('.log')"
    assert signed_in.script(f"return {log}.scrollTop + {log}.clientHeight >= {log}.scrollHeight - 2")
    signed_in.script(f"{log}.scrollTop = 0")
    signed_in.await_text("last 1,000 lines")
    # What is seen stays in place, and the lines far from it are not drawn.
    signed_in.await_text("Row 99501 copied", "Row 99490 copied")
    for count in (1500, 2000, 2500, 3000):
        signed_in.script(f"{log}.scrollTop = 0")
        signed_in.await_text(f"last {count:,} lines")
    wait_until(
        lambda: signed_in.script("return document.querySelectorAll('.log p').length") < 700, what="few are drawn"
    )
    # The lines of a phone are taller, and those at the place that is seen are drawn.
    for width in (390, 1280):
        signed_in.resize(width, 844)
        signed_in.script(f"{log}.scrollIntoView()")
        for place in (0, 0.5, 1):
            signed_in.script(f"{log}.scrollTop = {place} * {log}.scrollHeight")
            wait_until(lambda: signed_in.script(_SEES_LINE), what=f"a line is seen at {place} of {width} pixels")
    # The server finds all errors, not only those among the lines on the page.
    signed_in.find("[name=level]").send_keys("Errors")
    signed_in.await_text("20 lines", "Row 5000 copied")
    # Keys would be added to those of the choice before.
    signed_in.script(
        "const level = document.querySelector('[name=level]');"
        "level.value = ''; level.dispatchEvent(new Event('change'))"
    )
    signed_in.await_text("last 500 lines")
    signed_in.fill("log-search", "row 4321 ")
    signed_in.await_text("Row 4321 copied")
    # The list is read upwards to its beginning once it is as short as that.
    wait_until(lambda: signed_in.find(".log-count").text == "1 line", what="all lines are searched")
    assert signed_in.script("return document.querySelector('.log mark').innerText") == "Row 4321 "
    signed_in.click("button", "Download")
    signed_in.click("label", "Wrap")
    assert signed_in.script(f"return {log}.classList.contains('nowrap')")
