"""The application whose tasks a node offers: those of Celery's integration tests."""

from __future__ import annotations

import os

import ava_celery
from celery import Celery

import ava
from ava.client import Client

app = Celery("suite", broker=os.environ["TEST_BROKER"], include=["t.integration.tasks"])
app.conf.update(result_extended=True, task_create_missing_queues=False)
ava_celery.install(app)
# A node hides AVA_API_KEY from tasks, and these apply canvases.
if key := os.environ.get("SUITE_KEY"):
    ava.configure(Client(os.environ["AVA_URL"], api_key=key))


@app.on_after_finalize.connect
def _register(sender: Celery, **_: object) -> None:
    from t.integration.tasks import ClassBasedAutoRetryTask

    sender.register_task(ClassBasedAutoRetryTask())
