"""The application whose tasks a node offers: those of Celery's integration tests."""

from __future__ import annotations

import os

import ava_celery
from celery import Celery

app = Celery("suite", broker=os.environ["TEST_BROKER"], include=["t.integration.tasks"])
app.conf.update(result_extended=True, task_create_missing_queues=False)
ava_celery.install(app)


@app.on_after_finalize.connect
def _register(sender: Celery, **_: object) -> None:
    from t.integration.tasks import ClassBasedAutoRetryTask

    sender.register_task(ClassBasedAutoRetryTask())
