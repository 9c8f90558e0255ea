"""Takes the pictures of the README again: `pytest tests/acceptance/screenshots.py`.

It tests no promise, so its name is not one that pytest collects.
"""

from __future__ import annotations

import time
from pathlib import Path

from harness.system import ROOT, System
from tests.acceptance.test_dashboard import go
from tests.browser import Browser

FOLDER = ROOT / "docs" / "images"


def test_screenshots_are_saved(signed_in: Browser, running: System) -> None:
    ended = [running.trigger("wkr_echo", input={"text": f"hello {number}"})["id"] for number in range(9)]
    ended += [running.trigger("wkr_fail", input={"why": "no such channel: #security-ops"})["id"] for _ in range(3)]
    for job_id in ended:
        running.wait_for(job_id, "completed", "failed", seconds=60)
    incident = {"incident_id": "inc_01hxyz", "channel": "#security-ops", "steps": 400}
    job = running.trigger("wkr_report", input=incident, priority=1)
    running.wait_for(job["id"], "running")
    _populate(running)
    pages = {"overview": "#/", "jobs": "#/jobs", "job": f"#/jobs/{job['id']}", "workers": "#/workers"}
    for scheme, width, height in (("light", 1280, 860), ("dark", 1280, 860), ("light", 360, 740)):
        signed_in.prefer(scheme)
        signed_in.resize(width, height)
        for name, where in (pages | {"webhooks": "#/webhooks"}).items():
            _keep(signed_in, where, FOLDER / f"{name}-{scheme if width > 500 else 'phone'}.png")
    running.post("/v1/ava/jobs/cancel", json={"filter": {}})


def _populate(running: System) -> None:
    running.query(
        """INSERT INTO job_minutes SELECT 'ten_test', date_trunc('minute', now()) - n * interval '1 minute', 'wkr_echo',
               s.status, 0, 0, (s.share * (60 + 40 * sin(n / 7.0) + random() * 25))::int + 1, 0, 0, 0, 0
           FROM generate_series(1, 59) AS n
           CROSS JOIN (VALUES ('completed', 1), ('failed', 0.05), ('cancelled', 0.02)) AS s (status, share)
           ON CONFLICT DO NOTHING"""
    )
    running.post(
        "/v1/webhooks",
        json={"url": f"{running.url}/livez", "events": ["ava.job.failed"], "secret": "made up, a secret"},
    )
    for priority, count in ((1, 3), (2, 9), (3, 14), (5, 42), (7, 21), (9, 6)):
        entry = {"worker_id": "wkr_sleep", "input": {"seconds": 40}, "priority": priority}
        running.post("/v1/ava/jobs/bulk", json={"jobs": [entry] * count})


def _keep(browser: Browser, where: str, file: Path) -> None:
    go(browser, where)
    browser.find("main h1")
    # A fixed time is enough here, because a picture asserts nothing; the page loads its data meanwhile.
    time.sleep(2)
    browser.script("document.getElementById('notices').replaceChildren()")
    file.write_bytes(browser.driver.get_screenshot_as_png())
