"""Charts of series in a real browser: ranges, zoom, marks and limits, by pointer, by keyboard and as a table."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from harness.polling import wait_until
from harness.system import SECRET, System
from tests.acceptance.dashboard.test_looks import findings
from tests.browser import Browser, chart_text

# An hour of a tenant, with a deploy and a pause in it: 120 jobs per minute, and 4 of 5 permits in use. Jobs start after
# 250 to 500 ms, and run for 50 to 100 ms.
_MINUTES = """
INSERT INTO series (tenant_id, span, kind, subject, part, starts_at, completed, failed, cancelled, wait_jobs, run_jobs,
                    jobs, max_jobs)
SELECT 'ten_charts', 'minute', 'worker', s, '', date_trunc('minute', now()) - n * interval '1 minute', 100, 15, 5,
    array_fill(0, ARRAY[6]) || 120 || array_fill(0, ARRAY[10]),
    array_fill(0, ARRAY[4]) || 120 || array_fill(0, ARRAY[12]), 4, CASE WHEN s = 'wkr_echo' THEN 5 END
FROM generate_series(2, 60) AS n, (VALUES (''), ('wkr_echo')) AS s (s)
"""
_OTHERS = """
INSERT INTO series (tenant_id, span, kind, subject, part, starts_at, ends_at, jobs)
SELECT 'ten_charts', 'minute', k, s, p, date_trunc('minute', now()) - n * interval '1 minute', NULL, jobs
FROM generate_series(2, 60) AS n, (VALUES ('backlog', 'default', '1', 30), ('backlog', 'default', '5', 60),
    ('failures', '', 'ValueError', 5), ('failures', '', 'KeyError', 10)) AS p (k, s, p, jobs)
UNION ALL VALUES
    ('*', 'hour', 'deploy', 'release-7', '', now() - interval '31 minutes', NULL, NULL::integer),
    ('*', 'hour', 'pause', 'default', 'queue', now() - interval '25 minutes', now() - interval '20 minutes', NULL)
"""
_DELETE = "DELETE FROM series WHERE tenant_id = 'ten_charts' OR subject = 'release-7' OR kind = 'pause'"
_CHARTS = (
    *("Ended per minute", "Running jobs", "Time to start", "Run time", "Waiting by queue and priority"),
    "Failures by kind",
)


@pytest.fixture
def charts(browser: Browser, running: System) -> Iterator[Browser]:
    """The overview of a tenant with an hour of series."""
    for statement in (_DELETE, _MINUTES, _OTHERS):
        running.query(statement)
    browser.enter(SECRET, tenant="ten_charts")
    browser.await_text(*_CHARTS)
    yield browser
    running.query(_DELETE)


def _drawn(browser: Browser, label: str) -> bool:
    """Returns True if the canvas of a chart has pixels."""
    script = """
    const canvas = document.querySelector(`.plot-host[aria-label='${arguments[0]}'] canvas`);
    return canvas?.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean) ?? false;
    """
    return bool(browser.script(script, label))


def test_every_chart_is_drawn_and_says_its_values(charts: Browser) -> None:
    for label in _CHARTS:
        wait_until(lambda label=label: _drawn(charts, label), what=f"{label} is drawn")
    assert chart_text(charts, "Ended per minute").startswith("Highest: 100 completed, 5 cancelled, 15 failed")
    assert "30 default, priority 1" in chart_text(charts, "Waiting by queue and priority")
    assert "5 ValueError" in chart_text(charts, "Failures by kind")
    assert "354 ms p50" in chart_text(charts, "Time to start")
    charts.click("summary", "2 deploys and pauses in this range")
    charts.await_text("Deploy release-7", "Pause of queue default")
    assert findings(charts) == []


def test_a_step_is_read_by_keyboard_and_leads_to_its_jobs(charts: Browser) -> None:
    wait_until(lambda: _drawn(charts, "Ended per minute"), what="the chart is drawn")
    charts.script("""document.querySelector(".plot-host[aria-label='Ended per minute']").focus()""")
    charts.press(Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    wait_until(
        lambda: re.fullmatch(
            r"\d\d:\d\d: 100 completed, 5 cancelled, 15 failed", chart_text(charts, "Ended per minute")
        ),
        what=lambda: chart_text(charts, "Ended per minute"),
    )
    charts.press(Keys.ENTER)
    wait_until(lambda: "filter[completed_after]" in charts.address, what="the list of its jobs is open")


def test_dragging_zooms_into_a_range_that_the_address_keeps(charts: Browser) -> None:
    wait_until(lambda: _drawn(charts, "Run time"), what="the chart is drawn")
    over = charts.find(".plot-host[aria-label='Run time'] .u-over")
    charts.script("arguments[0].scrollIntoView({ block: 'center' })", over)
    width = over.size["width"]
    actions = ActionChains(charts.driver).move_to_element_with_offset(over, -width // 4, 0).click_and_hold()
    actions.move_by_offset(width // 8, 0).move_by_offset(width // 8, 0).release().perform()
    wait_until(lambda: "since=" in charts.address and "until=" in charts.address, what=lambda: charts.address)
    charts.await_text("Back to now")
    address = charts.address
    charts.open(f"/{address}")
    charts.await_text("Back to now")
    assert charts.address == address
    charts.click("button", "Back to now")
    wait_until(lambda: "since=" not in charts.address, what="the range ends now again")
    charts.find("[name=range]").send_keys("7 days")
    wait_until(lambda: "range=7d" in charts.address, what="the range is in the address")


def test_a_chart_is_also_a_table(charts: Browser) -> None:
    charts.script("document.querySelector('.plot-values > button').click()")
    table = charts.find(".plot-table")
    assert "100" in table.text
    assert len(charts.script("return [...document.querySelectorAll('.plot-table tbody tr')].map(String)")) >= 50
    assert findings(charts) == []


def test_the_page_of_a_worker_shows_its_jobs_against_its_limit(charts: Browser) -> None:
    charts.go("#/workers/wkr_echo")
    wait_until(lambda: "4 running, 5 limit" in chart_text(charts, "Running jobs"), what="the limit is in the chart")
    charts.await_text("Over time", "No schedules start it.", "Last failures", "AVA_CODE_VERSION is not set")


def test_a_queue_and_a_tenant_have_their_own_charts(charts: Browser) -> None:
    charts.go("#/queues/default")
    charts.await_text("Suspended", "Waiting by queue and priority")
    charts.go("#/queues/none")
    charts.await_text("No such queue")
    charts.enter(SECRET, tenant="ten_test", role="platform-admin")
    charts.go("#/tenants/ten_charts")
    wait_until(
        lambda: chart_text(charts, "Ended per minute").startswith("Highest: 100 completed"),
        what="an operator sees the tenant's jobs",
    )
    charts.await_text("Max running jobs", "Its jobs")
    assert findings(charts) == []
