"""A pytest plugin for Celery's own tests: their applications call AVA Jobs, and no worker of Celery starts.

`CELERY_SUITE` is JSON: `expected` has the tests that fail by intent, with their reasons; `may_pass` those of them that
pass at times; `only` the tests to run, null for all; `report` the file for the outcomes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ava_celery
import celery.contrib.testing.app
import celery.contrib.testing.worker
import pytest
from celery.app.control import Inspect
from celery.contrib.testing.manager import Manager

#: Seconds for which a test waits for a result, and of the whole test; less if it is expected to fail.
_WAIT_SECONDS, _TEST_SECONDS = 20, 200
_WAIT_SECONDS_EXPECTED, _TEST_SECONDS_EXPECTED = 4, 15
_SUITE: dict[str, Any] = json.loads(os.environ["CELERY_SUITE"])
_make_app = celery.contrib.testing.app.TestApp
_found: dict[str, Any] = {
    #: The reason why a test fails or is skipped; None if it passes.
    "collected": {},
    "selected": [],
    **{outcome: [] for outcome in ("failed", "expected", "unexpected", "skipped")},
}


def _installed_app(*args: Any, **options: Any) -> Any:
    app = _make_app(*args, **options)
    ava_celery.install(app)
    return app


@contextmanager
def _no_worker(*_: Any, **__: Any) -> Iterator[None]:
    yield None


celery.contrib.testing.app.TestApp = _installed_app
celery.contrib.testing.worker.start_worker = _no_worker
Manager.wait_until_idle = lambda _self: None
# Many tests ask for Celery's worker before they begin.
Inspect.ping = lambda _self, *_, **__: {"node": {"ok": "pong"}}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    expected, only = _SUITE["expected"], _SUITE["only"]
    for item in items:
        name = _name(item)
        reason = expected.get(name) or expected.get(_bare(name))
        _found["collected"][name] = reason
        # Before the mark of five minutes that many tests have.
        seconds = _TEST_SECONDS if reason is None else _TEST_SECONDS_EXPECTED
        item.add_marker(pytest.mark.timeout(seconds), append=False)
        if reason is not None:
            # A strict mark would also fail each subtest that passes.
            is_strict = _bare(name) not in _SUITE["may_pass"] and "subtests" not in getattr(item, "fixturenames", ())
            item.add_marker(pytest.mark.xfail(reason=reason, strict=is_strict))  # `_FAIL` in the test has each reason.
    if only is not None:
        left_out = [item for item in items if not {_name(item), _bare(_name(item))} & set(only)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    _found["selected"] = [_name(item) for item in items]


def pytest_runtest_setup(item: pytest.Item) -> None:
    is_expected = _found["collected"][_name(item)] is not None
    item.module.TIMEOUT = _WAIT_SECONDS_EXPECTED if is_expected else _WAIT_SECONDS  # type: ignore[attr-defined]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    name, text = _name(item), report.longreprtext
    reason = _found["collected"][name]
    if report.failed:
        _found["unexpected" if text.startswith("[XPASS(strict)]") else "failed"].append([name, text])
    elif report.skipped or (reason is not None and hasattr(report, "wasxfail")):
        _found["skipped" if reason is None else "expected"].append([name, reason or text])
    return report


def pytest_sessionfinish() -> None:
    Path(_SUITE["report"]).write_text(json.dumps(_found))


def _name(item: Any) -> str:
    return f"{item.cls.__name__}.{item.name}"


def _bare(name: str) -> str:
    """Return the name of a test without its parameters."""
    return name.partition("[")[0]
