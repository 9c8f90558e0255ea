"""A tab that is left open: the reads of five minutes, faster, under load."""

from __future__ import annotations

import time

import pytest

from harness.polling import wait_until
from harness.system import SECRET, System
from tests.browser import Browser

#: The timers of the page run so many times as fast, so that the reads of five minutes take seconds.
_FASTER = 40
_HURRY = f"""
const wait = window.setTimeout.bind(window);
window.setTimeout = (act, ms, ...rest) => wait(act, ms / {_FASTER}, ...rest);
const repeat = window.setInterval.bind(window);
window.setInterval = (act, ms, ...rest) => repeat(act, ms / {_FASTER}, ...rest);
const real = window.fetch;
window.reads = 0;
window.fetch = (...all) => {{
    window.reads += 1;
    return real(...all);
}};
"""
_READS_OF_WARM_UP = 100
#: A page reads every 2 seconds. After these the heap has grown by less than 1 MiB; what leaks grows with each read.
_MINUTES = 5
_READS = 30 * _MINUTES
_MAX_GROWTH = 30 * 1024 * 1024 * _MINUTES // 60


def _heap(browser: Browser) -> int:
    """Returns the bytes of the page's scripts and elements after a garbage collection."""
    for _ in range(3):
        browser.driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    used: int = browser.driver.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"]
    return used


@pytest.mark.timeout(500)
@pytest.mark.parametrize("page", ["", "jobs"])
def test_a_tab_that_is_open_under_load_grows_by_less_than_30_mib_an_hour(
    browser: Browser, running: System, page: str
) -> None:
    script = browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _HURRY})
    try:
        browser.enter(SECRET)
        browser.open(f"/#/{page}")
        browser.find("main h1")
        reads = "return window.reads"
        wait_until(lambda: browser.script(reads) > _READS_OF_WARM_UP, seconds=60, what="the page reads")
        before = _heap(browser)
        until = browser.script(reads) + _READS
        while browser.script(reads) < until:
            jobs = [{"worker_id": "wkr_echo", "input": {"text": "x" * 200}} for _ in range(20)]
            running.post("/v1/ava/jobs/bulk", json={"jobs": jobs}).raise_for_status()
            # Load, not a wait: twenty jobs a second change what the page shows.
            time.sleep(1)
        assert _heap(browser) - before < _MAX_GROWTH
    finally:
        browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": script["identifier"]})
        browser.errors()
