"""Tasks with time limits."""

from __future__ import annotations

import time

from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import get_task_logger

from tests.acceptance.celery_project.celery import app

logger = get_task_logger(__name__)


@app.task(soft_time_limit=1)
def cleans_up():
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "cleaned up"


@app.task(soft_time_limit=1)
def does_not_clean_up():
    time.sleep(30)


@app.task(time_limit=1)
def too_long():
    time.sleep(30)


@app.task
def sleeps(seconds):
    try:
        time.sleep(seconds)
    finally:
        logger.info("cleans up")
