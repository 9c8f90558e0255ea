"""The Celery application of this service is for its own messages alone."""

from __future__ import annotations

import pytest
from celery import Celery, current_app
from celery.exceptions import ImproperlyConfigured

from ava.broker.celery_app import make_app
from ava.settings import load

SETTINGS = load({"DATABASE_URL": "postgresql://127.0.0.1/ava", "BROKER_URL": "redis://127.0.0.1:1/0"})


def test_making_it_leaves_the_current_application_alone() -> None:
    mine = Celery("shop", broker="memory://")
    assert make_app(SETTINGS) is not current_app._get_current_object()
    assert current_app._get_current_object() is mine


def test_a_task_that_would_be_published_into_its_queues_raises_one_sentence() -> None:
    app = make_app(SETTINGS)

    @app.task(name="shop.notify")  # type: ignore[untyped-decorator]
    def task() -> None: ...

    for publish in (task.delay, lambda: app.send_task("shop.notify"), lambda: app.signature("shop.notify").delay()):
        with pytest.raises(ImproperlyConfigured, match=r"the task shop\.notify cannot be published: queues of AVA"):
            publish()
