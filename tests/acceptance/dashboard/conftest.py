"""One running system and one browser that all tests of the dashboard share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.servers.postgres import Databases
from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import SECRET, System
from tests.acceptance.conftest import running_system
from tests.browser import Browser, running_browser


@pytest.fixture(scope="package")
def running(_databases: Databases, redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One system for all tests of this folder, which one tester runs: see `tests.turns`.

    It takes a tenth of a processor even while nothing calls it, so it stops with the last of them.
    """
    environ = {
        "AVA_HANDLERS": "workers,workers.sleep,tests.acceptance.dashboard_handlers,tests.acceptance.tree_handlers",
        "AVA_WEBHOOK_ALLOW_PRIVATE": "1",
    }
    folder, broker_url = tmp_path_factory.mktemp("dashboard"), fresh_redis_url(redis_server)
    with (
        _databases.fresh() as url,
        running_system(folder, url, broker_url, concurrency=3, environ=environ) as system,
    ):
        yield system


@pytest.fixture(scope="package")
def window(running: System) -> Iterator[Browser]:
    """One browser for all tests of this folder."""
    with running_browser(running.url) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    """A signed-out browser; the test fails if the browser has logged an error by its end."""
    window.resize(1280)
    window.prefer("light")
    window.open("/livez")
    window.driver.delete_all_cookies()
    window.script("localStorage.clear()")
    window.errors()
    yield window
    # A wrong secret gets 401.
    assert [message for message in window.errors() if "401" not in message] == []


@pytest.fixture
def signed_in(browser: Browser) -> Browser:
    # The page that costs least: the overview draws six charts.
    browser.enter(SECRET, where="/#/keys")
    return browser
