"""A Celery application of the Django project, whose tasks run on the same node."""

from __future__ import annotations

from celery import Celery

app = Celery("shop", broker="memory://")
app.autodiscover_tasks(related_name="celery_tasks")
