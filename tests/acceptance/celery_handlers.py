"""A handler that publishes a Celery task of its author, who has an application if a broker is named."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import Celery, current_app, shared_task

from ava import worker

if broker := os.environ.get("SHOP_BROKER_URL"):
    shop = Celery("shop", broker=broker)


@shared_task
def notify(order: int) -> int:
    return order


@worker("t_delay")
def delay(input: dict[str, Any]) -> dict[str, Any]:
    notify.delay(7)
    with ThreadPoolExecutor(1) as threads:
        in_a_thread = threads.submit(lambda: current_app.main).result()
    with current_app.connection_for_write() as connection:
        found = connection.default_channel.queue_declare("celery", passive=True)
    return {"app": current_app.main, "in_a_thread": in_a_thread, "messages": found.message_count}
