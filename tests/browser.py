"""A real browser: headless Chromium, driven by Selenium."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from selenium import webdriver
from selenium.common.exceptions import (
    InvalidElementStateException,
    JavascriptException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from harness.polling import wait_until

_ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--lang=en"),
    # One process for the pages of all addresses: each address would have its own, whose start takes 0.1 s.
    "--disable-site-isolation-trials",
    # Without a graphics processor each frame of an animation, such as that of a running job, takes processor time.
    "--force-prefers-reduced-motion",
)
#: Finds the first visible element by a selector and its text or label, in the open dialog if there is one.
_FIND = """
const [selector, text] = arguments;
const seen = (element) => element.checkVisibility() && element.closest("[hidden]") === null;
const top = document.querySelector("dialog[open]") ?? document;
return [...top.querySelectorAll(selector)].filter((element) => seen(element) &&
    (text === null || element.innerText.trim() === text || element.getAttribute("aria-label") === text))[0] ?? null;
"""
_START_SESSION = """
const [headers, who, done] = arguments;
fetch("/v1/ava/session", { method: "POST", headers })
    .then(({ status }) => { localStorage.setItem("ava.last", who); done(status); });
"""


class Browser:
    """One browser window."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, where: str = "/") -> None:
        """Load an address from scratch, as from a link in a message."""
        self.driver.get("about:blank")
        self.driver.get(self.url + where)

    def go(self, where: str) -> None:
        """Open a page within the loaded dashboard, by the fragment of its address."""
        self.script("location.hash = arguments[0]", where)

    @property
    def address(self) -> str:
        """The decoded fragment of the address, which names the page and its filters."""
        return unquote(self.script("return location.hash"))

    def script(self, source: str, *arguments: Any) -> Any:
        """Run the body of a function in the page. Returns what it returns."""
        return self.driver.execute_script(source, *arguments)

    @property
    def text(self) -> str:
        """The visible text."""
        found: str = self.script("return document.body.innerText")
        return found

    def await_text(self, *wanted: str, seconds: float = 15) -> None:
        """Wait until all of these strings are visible."""
        wait_until(
            lambda: all(each in self.text for each in wanted), seconds=seconds, what=lambda: f"{wanted} in\n{self.text}"
        )

    def find(self, selector: str, label: str | None = None) -> Any:
        """Returns the first visible element, once there is one."""
        return wait_until(
            lambda: self._find_visible(selector, label),
            what=lambda: f"{selector} {label or ''} is there in\n{self.text}",
        )

    def _find_visible(self, selector: str, label: str | None) -> Any:
        try:
            return self.script(_FIND, selector, label)
        except JavascriptException:
            return None

    def click(self, selector: str, label: str | None = None) -> None:
        """Click on an element once it is visible and enabled."""

        def has_clicked() -> bool:
            try:
                element = self._find_visible(selector, label)
                if element is None or not element.is_enabled():
                    return False
                element.click()
            except WebDriverException:
                # It was redrawn, or another element still covers it.
                return False
            return True

        wait_until(has_clicked, what=lambda: f"{selector} {label or ''} can be clicked on in\n{self.text}")

    def fill(self, name: str, value: str) -> None:
        """Fill the field with this name once it is visible and enabled."""
        selector = f"[name='{name}']"

        def has_filled() -> bool:
            try:
                element = self._find_visible(selector, None)
                if element is None or not element.is_enabled():
                    return False
                if element.tag_name != "select":
                    element.clear()
                element.send_keys(value)
            except (InvalidElementStateException, StaleElementReferenceException):
                # The page has redrawn the field, or a dialog now covers it.
                return False
            return True

        wait_until(has_filled, what=lambda: f"{selector} can be filled in\n{self.text}")

    def sign_in(self, secret: str, *, tenant: str = "ten_test", role: str = "tenant-system-admin") -> None:
        """Sign in with the form."""
        self.fill("secret", secret)
        self.fill("tenant", tenant)
        self.fill("user", "usr_test")
        self.fill("role", role)
        self.click("button", "Sign in")
        self.await_text("Sign out")

    def enter(
        self, secret: str, *, tenant: str = "ten_test", role: str = "tenant-system-admin", where: str = "/"
    ) -> None:
        """Open a page, or the overview, with a session that an earlier page has started: a fifth of the form's time."""
        who = {"tenant": tenant, "user": "usr_test", "role": role, "isIn": True}
        headers = {"x-internal-secret": secret, "x-tenant-id": tenant, "x-user-id": "usr_test", "x-platform-role": role}
        assert self.driver.execute_async_script(_START_SESSION, headers, json.dumps(who)) == 201
        self.open(where)
        self.await_text("Sign out")

    def press(self, *keys: str) -> None:
        """Press keys one after the other, on the focused element."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def replace(self, value: str) -> None:
        """Select what the focused field holds, and type over it."""
        ActionChains(self.driver).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).send_keys(value).perform()

    def tab_to(self, wanted: str, most: int = 80) -> None:
        """Press Tab until the focused element has this label or text."""
        label = ""
        for _ in range(most):
            self.press(Keys.TAB)
            label = self.script(
                "const e = document.activeElement;"
                "return e.getAttribute('aria-label') ?? (e.name || e.innerText || '').trim()"
            )
            if label == wanted:
                return
        raise AssertionError(f"Tab never reached {wanted!r}; the focus ended at {label!r}")

    def resize(self, width: int, height: int = 800) -> None:
        """Resize the window, in CSS pixels; below 500 it acts as a phone."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )

    def prefer(self, scheme: str) -> None:
        """Set the preferred colour scheme: `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def errors(self) -> list[str]:
        """Returns the errors logged by the browser since the last call, policy violations among them.

        Chromium asks for a favicon when it shows JSON, and may log the answer while the next page is open.
        """
        found = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        return [message for message in found if "/favicon.ico" not in message]


def chart_text(browser: Browser, label: str) -> str:
    """Returns what a chart says to those who do not see it: its highest values, or those of the step that is read."""
    selector = f".plot-host[aria-label='{label}']"
    found: str = browser.script("return document.querySelector(arguments[0])?.ariaValueText ?? ''", selector)
    return found


@contextmanager
def running_browser(url: str) -> Iterator[Browser]:
    """A browser with its own profile; without Chromium the test is skipped, or fails in CI."""
    chromium, driver_program = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver_program:
        missing = "Chromium and its driver are needed; on Debian: apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    profile = Path(tempfile.mkdtemp(prefix="ava-browser-"))
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(driver_program))
    try:
        # The examination of a whole page takes its time on a busy machine.
        driver.set_script_timeout(60)
        yield Browser(driver, url)
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)
