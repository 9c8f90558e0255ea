"""A Celery project, as it was written for Celery."""

import os
from typing import Any

from celery import Celery
from celery.schedules import crontab

app = Celery("shop", broker=os.environ.get("SHOP_BROKER", "redis://127.0.0.1:6379/1"))
app.conf.timezone = "Europe/Berlin"
app.conf.beat_schedule = {"report": {"task": "celery_shop.report", "schedule": crontab(hour="3", minute="0")}}


@app.task(bind=True, autoretry_for=(ConnectionError,), max_retries=3, retry_backoff=True)
def send_receipt(self: Any, order: str, cents: int) -> dict[str, str]:
    print(f"receipt of {order}: {cents} cents, try {self.request.retries + 1}")
    if self.request.retries == 0:
        raise ConnectionError("the mail server is busy")
    return {"order": order}


@app.task
def report() -> str:
    return "sent"
