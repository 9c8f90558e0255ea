"""A pytest plugin: installs the callers in the applications of Celery's fixtures, and starts no worker of Celery."""

from __future__ import annotations

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

#: Seconds for which a test waits for a result, in place of a minute.
_SECONDS = 30
_make_app = celery.contrib.testing.app.TestApp


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
    parts = os.environ["CELERY_SUITE_LEFT_OUT"].splitlines()
    left_out = [item for item in items if any(part in item.nodeid for part in parts)]
    Path(os.environ["CELERY_SUITE_NOT_RUN"]).write_text("".join(f"{item.nodeid}\n" for item in left_out))
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    for item in items:
        if hasattr(item, "module"):
            item.module.TIMEOUT = _SECONDS
