"""How the dashboard looks and is used: by everybody, by keyboard, on a phone, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from harness.polling import wait_until
from harness.system import ROOT, SECRET, System
from tests.browser import Browser
from tests.dashboard_pages import pages

AXE = (ROOT / "tests" / "axe" / "axe.min.js").read_text()
#: Swagger UI's own elements are not ours to change.
_RUN_AXE = """
const [rules, done] = arguments;
const options = { resultTypes: ["violations"], ...(rules.length && { runOnly: { type: "rule", values: rules } }) };
axe.run({ exclude: ["#swagger-ui"] }, options).then(({ violations }) => done(
    violations.map((found) => `${found.id}: ${found.nodes.map((node) => node.html.slice(0, 200)).join(" ")}`)));
"""
#: The rules about colours, in which alone the schemes differ.
_COLOUR_RULES = ("color-contrast", "link-in-text-block")
#: The entries of the sidebar whose text is cut off, whatever the tenant's name.
_CUT_OFF = """
document.querySelector(".tenant").textContent = "ten_" + "x".repeat(60);
return [...document.querySelectorAll(".side nav a .label")]
    .filter((label) => label.clientWidth > 1 && label.scrollWidth > label.clientWidth + 1)
    .map((label) => label.innerText);
"""
#: The tables whose titles are one below the other.
_STACKED = """
return [...document.querySelectorAll(".table .head [role=row]")].filter((head) => head.checkVisibility())
    .filter((head) => new Set([...head.children].map((each) => each.getBoundingClientRect().left)).size === 1)
    .map((head) => head.innerText);
"""
_ROWS_SHOWN = """
const ends = [...document.querySelectorAll(".rows [role=row]")].map((row) => row.getBoundingClientRect().bottom);
return ends.filter((end) => end <= innerHeight).length;
"""
_TARGETS = """
const seen = (element) => element.checkVisibility() && element.getBoundingClientRect().width > 0;
return [...document.querySelectorAll("button, select, input, nav a, .bottom a, .pager a, .rows .choose")].filter(seen)
    .map((element) => [element, (element.closest(".choose, .check") ?? element).getBoundingClientRect()])
    .filter(([element, box]) => box.height < 39.9 || box.width < 39.9)
    .map(([element, box]) => `${element.outerHTML.slice(0, 120)} ${box.width} x ${box.height}`);
"""


def findings(browser: Browser, *rules: str) -> list[str]:
    """Returns what axe finds on the page, by these rules or else by all."""
    if not browser.script("return Boolean(window.axe)"):
        browser.script(AXE)
    found: list[str] = browser.driver.execute_async_script(_RUN_AXE, rules)
    return found


def findings_in_both(browser: Browser) -> list[str]:
    """Return what axe finds in light by all rules, and in dark by those about colours."""
    found = []
    for scheme, rules in (("light", ()), ("dark", _COLOUR_RULES)):
        browser.prefer(scheme)
        found += [f"{scheme}: {each}" for each in findings(browser, *rules)]
    return found


@pytest.fixture(scope="module")
def filled(running: System) -> Iterator[dict[str, Any]]:
    """Jobs, a webhook, a schedule and a key, so that no page is empty. Returns a failed job."""
    jobs = [{"worker_id": "wkr_echo", "input": {"text": f"{number}"}} for number in range(18)]
    jobs += [{"worker_id": "wkr_fail", "input": {"why": "no such channel " * 20}}]
    made = running.post("/v1/ava/jobs/bulk", json={"jobs": jobs}).json()["data"]
    hook = {"url": f"{running.url}/livez", "events": ["ava.job.failed"], "secret": "made up, a secret"}
    pattern = {"worker_id": "wkr_echo", "cron": "0 3 * * *", "timezone": "Europe/Berlin", "name": "Nightly"}
    key = {"name": "deploy", "role": "tenant-user"}
    records = [("/v1/webhooks", hook), ("/v1/ava/schedules", pattern), ("/v1/ava/keys", key)]
    ids = [(path, running.post(path, json=body).json()["data"]["id"]) for path, body in records]
    for job in made:
        running.wait_for(job["id"], "completed", "failed", seconds=60)
    yield running.show(made[-1]["id"])
    for path, made_id in ids:
        running.request("DELETE", f"{path}/{made_id}")


def _addresses(failed: dict[str, Any]) -> list[str]:
    """Return the address of each page, with that of a failed job. The page of a tree has tests of its own."""
    ids = {"job": failed["id"], "worker": "wkr_http_request", "queue": "default", "tenant": "ten_test"}
    return [where.format(id=ids.get(page)) for page, where in pages().items() if page != "tree"]


@pytest.fixture
def operator(browser: Browser) -> Browser:
    """A browser that is signed in with a role of the platform, which sees every page."""
    browser.enter(SECRET, role="platform-system-admin")
    return browser


# Each of its looks takes seconds of one processor.
@pytest.mark.timeout(300)
def test_axe_finds_nothing_and_no_table_is_stacked_on_any_page_in_light_and_dark(
    browser: Browser, filled: dict[str, Any]
) -> None:
    browser.open("/")
    browser.find("[name='secret']")
    found = {"sign in": findings_in_both(browser)}
    browser.enter(SECRET, role="platform-system-admin")
    for page in _addresses(filled):
        browser.go(page)
        browser.find("main h1")
        wait_until(lambda: browser.script("return document.querySelector('main').innerText.length") > 60)
        found[page] = [*findings_in_both(browser), *browser.script(_STACKED)]
    browser.go("#/jobs")
    browser.click("button", "New job")
    found["dialog"] = findings(browser)
    for page in ("/docs/errors", "/docs"):
        browser.open(page)
        # A script writes the page of the API.
        browser.find("h1")
        found[page] = findings(browser)
    assert {route: problems for route, problems in found.items() if problems} == {}


def test_fifteen_jobs_are_above_the_fold_and_three_on_a_phone(signed_in: Browser, filled: dict[str, Any]) -> None:
    signed_in.go("#/jobs?filter[status]=completed")
    for width, height, least in ((1024, 700, 15), (390, 844, 3)):
        signed_in.resize(width, height)
        wait_until(lambda least=least: signed_in.script(_ROWS_SHOWN) >= least, what=f"{least} rows are shown")
        assert signed_in.script("return document.documentElement.scrollWidth <= innerWidth")
    assert filled["error"].startswith("ValueError")
    signed_in.resize(1024, 700)
    signed_in.go("#/jobs?filter[status]=failed")
    error = signed_in.find(f"[data-job='{filled['id']}'] .error")
    # The error has a line of its own, nearly as wide as the table.
    assert error.size["width"] > 700


def test_a_phone_has_targets_of_40_pixels_and_scrolls_no_page_sideways(
    operator: Browser, running: System, filled: dict[str, Any]
) -> None:
    job = running.trigger("wkr_echo", input={"text": "long" * 500})["id"]
    failed = running.trigger("wkr_fail", input={"why": "long" * 500})["id"]
    running.wait_for(job, "completed")
    running.wait_for(failed, "failed")
    for page in (*_addresses(filled), f"#/jobs/{job}", f"#/jobs/{failed}"):
        operator.resize(390, 844)
        operator.go(page)
        operator.find("main h1")
        if page == "#/jobs":
            operator.find("[data-job]")
            operator.script("document.querySelector('.choose').click()")
            operator.await_text("1 selected")
        assert operator.script(_TARGETS) == [], page
        operator.resize(360, 740)
        wait_until(lambda: operator.script("return document.documentElement.scrollWidth") <= 360, what=page)


def test_the_sidebar_shows_every_page_at_every_width(operator: Browser) -> None:
    for width in (1024, 1101, 1280, 1440, 1701):
        operator.resize(width, 900)
        titles = operator.script("return [...document.querySelectorAll('.side nav li > a')].map((each) => each.title)")
        assert {"Overview", "Jobs", "Subscriptions", "Limits", "Tenants", "Keys"} <= set(titles)
        assert operator.script(_CUT_OFF) == [], width
        beside = operator.script(
            "return document.querySelector('main').getBoundingClientRect().left >="
            " document.querySelector('.side').getBoundingClientRect().right - 1"
        )
        assert beside, f"the page is beside the sidebar at {width} pixels"


def test_a_text_that_turns_the_direction_shows_how_it_is_written(operator: Browser, running: System) -> None:
    running.post(
        "/v1/ava/subscriptions", json={"event_type": "a.b", "worker_id": "wkr_sleep", "name": "\u202elive\u202c"}
    )
    operator.go("#/subscriptions")
    operator.await_text(r"\u202elive\u202c")


def test_the_list_is_used_by_keyboard_alone(signed_in: Browser, filled: dict[str, Any]) -> None:
    signed_in.go("#/jobs")
    signed_in.find(f"[data-job='{filled['id']}']")
    assert signed_in.script("return getComputedStyle(document.querySelector('main')).outlineStyle") == "none"
    focused = "return document.activeElement.closest('[data-job]')?.dataset.job ?? document.activeElement.name"
    ids = signed_in.script("return [...document.querySelectorAll('[data-job]')].map((row) => row.dataset.job)")
    signed_in.press("j", "j", "j", "k")
    assert signed_in.script(focused) == ids[1]
    signed_in.press("x")
    signed_in.await_text("1 selected")
    signed_in.press("?")
    signed_in.await_text("Next row")
    signed_in.press(Keys.ESCAPE)
    signed_in.press("j", Keys.ENTER)
    wait_until(lambda: ids[2] in signed_in.address, what="the row is opened")
    signed_in.go("#/jobs")
    signed_in.find("[data-job]")
    signed_in.press("/")
    name = signed_in.script(focused)
    assert name
    # A key in a field is a letter.
    assert signed_in.script("return document.activeElement.closest('[role=search]') !== null")


def test_text_from_right_to_left_turns_nothing_beside_it(signed_in: Browser, filled: dict[str, Any]) -> None:
    signed_in.go("#/jobs")
    signed_in.find(f"[data-job='{filled['id']}']")
    kinds = (
        "return [...document.querySelectorAll('[role=cell], .error')].map((cell) => getComputedStyle(cell).unicodeBidi)"
    )
    assert set(signed_in.script(kinds)) == {"isolate"}


def test_a_queue_is_paused_and_resumed_on_the_page_of_queues(operator: Browser, running: System) -> None:
    operator.resize(1440)
    operator.go("#/queues")
    operator.click("[aria-label='Pause default']")
    operator.fill("reason", "the database moves")
    operator.click("button", "Pause")
    operator.await_text("the database moves")
    query = {"filter[paused]": "true"}
    (paused,) = running.get("/v1/ava/queues", params=query).json()["data"]["queues"]
    assert (paused["queue"], paused["paused"]["reason"]) == ("default", "the database moves")
    operator.click("[aria-label='Resume default']")
    operator.find("[aria-label='Pause default']")
    assert running.get("/v1/ava/queues", params=query).json()["data"]["queues"] == []


def test_an_operator_sets_the_limits_of_a_tenant_and_the_tenant_reads_them(operator: Browser, running: System) -> None:
    job = running.trigger("wkr_echo")
    running.wait_for(job["id"], "completed")
    operator.go("#/tenants")
    operator.click("[aria-label='Limits of ten_test']")
    operator.fill("max_running", "3")
    operator.fill("weight", "2.5")
    operator.click("button", "Set limits")
    operator.await_text("The limits of ten_test are set.")
    set_now = running.get("/v1/ava/tenants/ten_test/limits").json()["data"]
    assert (set_now["max_running"], set_now["weight"], set_now["retention_days"]) == (3, 2.5, None)
    operator.go("#/limits")
    operator.await_text("Max running jobs\n3", "Weight\n2.5", "Job retention in days\ndefault of the installation")
    operator.click("button", "Change …")
    for name in ("max_running", "weight"):
        operator.fill(name, "")
    operator.click("button", "Set limits")
    operator.await_text("Max running jobs\ndefault of the installation")
    assert running.get("/v1/ava/tenants/ten_test/limits").json()["data"]["max_running"] is None
