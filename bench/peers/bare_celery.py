"""Plain Celery, which stores nothing: `celery -A bench.peers.bare_celery:queue worker`.

It reads the URL of its broker from `BENCH_BARE_BROKER`.
"""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery

QUEUE = "bare"

queue = Celery("bare", broker=os.environ.get("BENCH_BARE_BROKER", "memory://"))
queue.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    task_default_queue=QUEUE,
)


@queue.task(name="noop")
def noop(_payload: dict[str, Any]) -> Any:
    """Do nothing."""
    return {"ok": 1}


@queue.task(name="nap")
def nap(_job_id: int, ms: float) -> Any:
    """Wait, as for another service."""
    time.sleep(ms / 1000)
    return {"ok": 1}
