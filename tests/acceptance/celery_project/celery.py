"""The application of the project."""

from __future__ import annotations

import os
from datetime import timedelta

from celery import Celery
from celery.schedules import crontab

url = os.environ.get("PROJECT_BROKER_URL", "memory://")
app = Celery(
    "project",
    broker=url,
    backend=url if url.startswith("redis") else None,
    include=["tests.acceptance.celery_project.tasks", "tests.acceptance.celery_project.limits"],
)
app.conf.update(
    timezone="Europe/London",
    task_routes={"tests.acceptance.celery_project.tasks.import_feed": {"queue": "feeds"}},
    beat_schedule={
        "add-every-30-minutes": {
            "task": "tests.acceptance.celery_project.tasks.add",
            "schedule": timedelta(minutes=30),
            "args": (16, 16),
        },
        "add-every-monday-morning": {
            "task": "tests.acceptance.celery_project.tasks.add",
            "schedule": crontab(hour=7, minute=30, day_of_week=1),
            "args": (16, 16),
            "options": {"expires": 600},
        },
        "add-every-10-seconds": {"task": "tests.acceptance.celery_project.tasks.add", "schedule": 10.0, "args": (1, 1)},
        "add-at-night": {
            "task": "tests.acceptance.celery_project.tasks.add",
            "schedule": crontab(minute="55-5", hour="20-2/2", day_of_week="monday,Fri"),
            "args": (1, 1),
        },
        # The API refuses a third argument, before the other entries by name.
        "add-a-third": {
            "task": "tests.acceptance.celery_project.tasks.add",
            "schedule": timedelta(hours=1),
            "args": (1, 1, 1),
        },
        "add-on-friday-the-13th": {
            "task": "tests.acceptance.celery_project.tasks.add",
            "schedule": crontab(minute=0, hour=0, day_of_month=13, day_of_week=5),
            "args": (1, 1),
        },
    },
)
