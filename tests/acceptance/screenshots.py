"""Takes the pictures of the dashboard for the README and the docs (`make pictures`), and of every page to look at.

`make screenshots` takes each page large and small, light and dark. Neither tests a promise, so the name of this file is
not one that pytest collects.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from harness.servers.postgres import Databases
from harness.servers.receiver import Received, Receiver, Reply
from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import ROOT, SECRET, System
from tests.acceptance.conftest import running_system
from tests.browser import Browser, running_browser
from tests.dashboard_pages import pages, picture

_CUSTOMERS = ("ada", "grace", "edsger", "barbara", "donald", "radia", "ken")
_SHOTS = ROOT / "build" / "screenshots"
_SIZES = ((1440, 900), (390, 844))
#: The pages whose panel of a record is taken too.
_WITH_PANEL = ("approvals", "schedules", "webhooks", "nodes", "containments")
_FAILED = Reply(status=503, body=b"maintenance")


@pytest.fixture(scope="session")
def shop(_databases: Databases, redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of three tenants with the handlers of a shop."""
    environ = {
        "AVA_HANDLERS": "workers,tests.acceptance.picture_handlers",
        "AVA_WEBHOOK_ALLOW_PRIVATE": "1",
        "AVA_WEBHOOK_TIME_SCALE": "0.001",
    }
    folder, broker_url = tmp_path_factory.mktemp("shop"), fresh_redis_url(redis_server)
    with (
        _databases.fresh(is_pooled=False) as url,
        running_system(folder, url, broker_url, concurrency=4, webhooks=1, environ=environ) as system,
    ):
        system.expects_traceback = True
        system.session.headers.update(
            {"x-tenant-id": "ten_acme", "x-user-id": "usr_mia", "x-platform-role": "platform-admin"}
        )
        yield system


@pytest.fixture(scope="session")
def filled(shop: System) -> Iterator[dict[str, str]]:
    """The ids of the records whose pages are taken, by the name of the page."""
    with closing(Receiver(_answer)) as receiver:
        report = _fill(shop, receiver.url.removesuffix("/hook"))
        yield {
            "job": report,
            "worker": "wkr_send_invoice",
            "queue": "default",
            "tenant": "ten_acme",
            "tree": _make_tree(shop),
        }
    shop.post("/v1/ava/jobs/cancel", json={"filter": {"created_after": "2020-01-01T00:00:00Z"}})


@pytest.fixture
def browser(shop: System) -> Iterator[Browser]:
    with running_browser(shop.url) as browser:
        browser.resize(1280, 860)
        browser.open("/")
        browser.sign_in(SECRET, tenant="ten_acme", role="platform-admin")
        yield browser


def test_every_page_of_the_dashboard_has_its_picture(browser: Browser, shop: System, filled: dict[str, str]) -> None:
    # New pages first.
    for page, where in sorted(pages().items(), key=lambda each: picture(each[0]).exists()):
        with _contained(shop, page):
            _open(browser, where.format(id=filled.get(page, "")))
            _keep(browser, picture(page))


def test_every_page_is_taken_large_and_small_light_and_dark(
    browser: Browser, shop: System, filled: dict[str, str]
) -> None:
    for page, where in pages().items():
        with _contained(shop, page):
            _open(browser, where.format(id=filled.get(page, "")))
            _keep_each(browser, page)
            if page in _WITH_PANEL:
                browser.click("main .rows a")
                browser.find(".panel h3")
                time.sleep(1)
                _keep_each(browser, f"{page}_panel")
    for name, button in (("palette", "Ctrl K: find anything, or run an action"), ("new_job", "New job")):
        _open(browser, "#/jobs")
        browser.click("button", button)
        browser.find("input, select")
        time.sleep(1)
        _keep_each(browser, name)
        browser.press(Keys.ESCAPE)
    browser.resize(390, 844)
    browser.click(".bottom button", "Menu")
    _keep_each(browser, "drawer", sizes=_SIZES[1:])
    browser.script("fetch('/v1/ava/session', {method: 'DELETE', headers: {'x-tenant-id': 'ten_acme'}})")
    browser.open("/")
    browser.find("[name='secret']")
    _keep_each(browser, "signin")


def _answer(request: Received) -> Reply:
    return _FAILED if request.path == "/old" else Reply()


def _fill(shop: System, receiver: str) -> str:
    """Fill the system with the jobs of a morning. Returns the id of a job that runs."""
    rng = random.Random(7)
    for path, events in (("/hooks", ["ava.job.completed", "ava.job.failed"]), ("/old", ["ava.job.failed"])):
        body = {"url": receiver + path, "events": events, "secret": "made up, a secret"}
        assert shop.post("/v1/webhooks", json=body).ok
    _make_schedules(shop)
    _make_hooks(shop)
    _make_requests(shop, receiver)
    for name, role in (("shop backend", "tenant-system-admin"), ("grafana", "tenant-user")):
        assert shop.post("/v1/ava/keys", json={"name": name, "role": role}).ok
    report = shop.trigger("wkr_monthly_report", input={"month": "2026-10"}, priority=2, tags={"team": "finance"})
    for tenant, jobs in (("ten_globex", 9), ("ten_initech", 4), ("ten_acme", 60)):
        shop.session.headers["x-tenant-id"] = tenant
        response = shop.post("/v1/ava/jobs/bulk", json={"jobs": [_entry(rng) for _ in range(jobs)]})
        assert response.ok, response.text
    shop.wait_for(report["id"], "running", seconds=60)
    shop.request("PATCH", "/v1/ava/workers/wkr_send_invoice", json={"config": {"SENDER": "billing@example.com"}})
    _add_history(shop)
    _await_errors(shop)
    shop.query(
        """UPDATE series SET jobs = 2 + round(sin(extract(epoch FROM starts_at) / 600))
           WHERE tenant_id = 'ten_acme' AND span = 'minute' AND kind = 'worker' AND jobs IS NULL"""
    )
    # One of these runs at a time, so most of them wait in the pictures.
    assert shop.post("/v1/ava/jobs/bulk", json={"jobs": [_sync(rng, pause=4) for _ in range(120)]}).ok
    running: str = report["id"]
    return running


def _make_tree(shop: System) -> str:
    """Trigger the graph of a month's end, and wait until its report runs. Returns the id of its first job."""
    invoices = [
        {"worker_id": "wkr_send_invoice", "name": f"invoice_{customer}", "after": ["close_books"], "priority": 1,
         "input": {"invoice": f"2026-{n}", "customer": customer, "cents": 5_000 + n}}
        for n, customer in enumerate(_CUSTOMERS[:3])
    ]  # fmt: skip
    names = [each["name"] for each in invoices]
    report = {"worker_id": "wkr_monthly_report", "input": {"month": "2026-11"}, "priority": 1}
    image = {"worker_id": "wkr_resize_image", "input": {"url": "https://example.com"}}
    reminder = {"worker_id": "wkr_send_invoice", "input": invoices[0]["input"]}
    jobs = [
        {**image, "name": "close_books", "priority": 1},
        *invoices,
        {**report, "name": "report", "after": names},
        {**reminder, "name": "remind", "after": names, "when": "failed"},
        {**image, "name": "publish", "after": ["report"]},
    ]
    made = shop.post("/v1/ava/jobs/bulk", json={"jobs": jobs}).json()["data"]
    shop.wait_for(made[4]["id"], "running", seconds=120)
    first: str = made[0]["id"]
    return first


def _entry(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(("invoice", "invoice", "image", "crm"))
    if kind == "invoice":
        customer = rng.choice(_CUSTOMERS)
        cents = rng.randrange(900, 250_000)
        invoice = {"invoice": f"2026-{rng.randrange(1000, 9999)}", "customer": customer, "cents": cents}
        return {"worker_id": "wkr_send_invoice", "input": invoice, "priority": 3, "tags": {"team": "billing"}}
    if kind == "image":
        url = f"https://cdn.example.com/products/{rng.randrange(100, 999)}.jpg"
        return {"worker_id": "wkr_resize_image", "input": {"url": url}, "priority": 7}
    return _sync(rng)


def _sync(rng: random.Random, **given: Any) -> dict[str, Any]:
    return {
        "worker_id": "wkr_sync_crm",
        "input": {"account": rng.randrange(1, 400), **given},
        "priority": rng.choice((5, 5, 6)),
        "tags": {"team": "sales"},
    }


def _make_schedules(shop: System) -> None:
    daily = {"cron": "*/15 8-18 * * 1-5", "timezone": "Europe/Berlin"}
    for name, worker_id, times, given in (
        ("Report of the month", "wkr_monthly_report", {**daily, "cron": "0 6 1 * *"}, {"month": "2026-10"}),
        ("Sync of account 1", "wkr_sync_crm", daily, {"account": 1}),
        ("Picture of the day", "wkr_resize_image", {"every_seconds": 20}, {"url": "https://cdn.example.com/day.jpg"}),
    ):
        body = {"worker_id": worker_id, **times, "name": name, "input": given}
        assert shop.post("/v1/ava/schedules", json=body).ok


def _make_hooks(shop: System) -> None:
    for name, provider in (("pulls", "github"), ("payments", "stripe")):
        shop.post("/v1/ava/hooks", json={"name": name, "provider": provider})
    template = {"url": {"$get": "data.url"}}
    for event_type, worker_id, given in (
        ("stripe.invoice.paid", "wkr_send_invoice", {}),
        ("shop.product.*", "wkr_resize_image", {"input": template}),
    ):
        shop.post("/v1/ava/subscriptions", json={"event_type": event_type, "worker_id": worker_id, **given})


def _make_requests(shop: System, receiver: str) -> None:
    """Ask for decisions, and make what tells people about them."""
    for order, cents in ((20418, 128_000), (20421, 4_990)):
        shop.trigger("wkr_refund", input={"order": order, "cents": cents}, priority=1)
    rules = [{"event": "error.opened"}, {"event": "backlog", "queue": "crm", "older_than_seconds": 300}]
    body = {"name": "on call", "channel": "webhook", "target": f"{receiver}/hooks", "on": rules}
    assert shop.post("/v1/ava/notices", json=body).ok
    for number in range(3):
        event = {"type": "shop.product.changed", "data": {"url": f"https://example.com/{number}.jpg"}}
        assert shop.post("/v1/ava/events", json=event).ok


@contextmanager
def _contained(shop: System, page: str) -> Iterator[None]:
    """Contain the jobs of a team while the page of containments is open: its banner is on every page."""
    if page != "containments":
        yield
        return
    tag = {"key": "team", "value": "sales"}
    body = {"scope": {"tag": tag}, "reason": "Accounts got wrong prices", "triggers": "hold", "running": "let_end"}
    response = shop.post("/v1/ava/containments", json=body)
    assert response.ok, response.text
    yield
    lifted = shop.post(f"/v1/ava/containments/{response.json()['data']['id']}/lift", json={"held": "release"})
    assert lifted.ok, lifted.text


def _add_history(shop: System) -> None:
    """Add the counts of an hour and of a month, of jobs that are not kept any more."""
    shop.query(
        """INSERT INTO job_minutes
               (tenant_id, minute, worker_id, status, wait_bucket, run_bucket, jobs, retries, losses, wait_seconds,
                run_seconds)
           SELECT 'ten_acme', date_trunc('minute', now()) - n * interval '1 minute', w.id, s.status, b.wait, b.run,
                  (s.share * w.share * b.share * (60 + 40 * sin(n / 7.0) + random() * 25))::int + 1, 0, 0, 0, 0
           FROM generate_series(1, 59) AS n
           CROSS JOIN (VALUES (2, 5, 0.6), (4, 6, 0.3), (6, 7, 0.1)) AS b (wait, run, share)
           CROSS JOIN (VALUES ('wkr_send_invoice', 1), ('wkr_resize_image', 0.6)) AS w (id, share)
           CROSS JOIN (VALUES ('completed', 1), ('failed', 0.04), ('cancelled', 0.01)) AS s (status, share)
           ON CONFLICT DO NOTHING"""
    )
    shop.query(
        """INSERT INTO job_counts
               (tenant_id, span, trigger, worker_id, starts_at, completed, failed, cancelled, expired, ran, ran_ms,
                cpu_ms, wait_ms)
           SELECT 'ten_acme', 'day', t.trigger, w.id, date_trunc('day', now(), 'UTC') - n * interval '1 day',
                  d.jobs, d.jobs / 40, d.jobs / 150, 0, d.jobs, d.jobs * w.run_ms,
                  d.jobs * w.run_ms / 6, d.jobs * 12
           FROM generate_series(1, 29) AS n
           CROSS JOIN (VALUES ('', 1, 180), ('wkr_send_invoice', 0.5, 210), ('wkr_resize_image', 0.3, 120),
                              ('wkr_sync_crm', 0.2, 240)) AS w (id, share, run_ms)
           CROSS JOIN (VALUES ('', 1), ('manual', 0.9), ('scheduled', 0.1)) AS t (trigger, share)
           CROSS JOIN LATERAL (SELECT (w.share * t.share *
               (4200 + 900 * sin(n) - CASE WHEN extract(dow FROM now() - n * interval '1 day') IN (0, 6)
                                           THEN 3000 ELSE 0 END))::int) AS d (jobs)
           ON CONFLICT DO NOTHING"""
    )
    # Without series the duty writes those of a whole day.
    shop.query("DELETE FROM series")


def _await_errors(shop: System) -> None:
    """Wait until the failed jobs are in groups, and the history is in the charts."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        ((minutes,),) = shop.query("SELECT count(*) FROM series WHERE span = 'minute'")
        if minutes > 59 and len(shop.get("/v1/ava/errors").json()["data"]) >= 2:
            return
        time.sleep(1)


def _open(browser: Browser, where: str) -> None:
    browser.go(where)
    browser.find("main h1")
    # A fixed time is enough here, because a picture asserts nothing; the page loads its data meanwhile.
    time.sleep(3)


def _keep(browser: Browser, file: Path) -> None:
    browser.script("document.getElementById('notices').replaceChildren()")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(browser.driver.get_screenshot_as_png())


def _keep_each(browser: Browser, name: str, sizes: tuple[tuple[int, int], ...] = _SIZES) -> None:
    """Take what is open in each size, light and dark."""
    for width, height in sizes:
        browser.resize(width, height)
        for scheme in ("light", "dark"):
            browser.prefer(scheme)
            time.sleep(0.3)
            _keep(browser, _SHOTS / f"{name}-{width}-{scheme}.png")
    browser.prefer("light")
    browser.resize(*_SIZES[0])
