"""A chord of plain Celery, with results in Redis: `celery -A bench.peers.celery_chord:queue worker`.

It reads its broker's URL from `BENCH_CHORD_BROKER`. A task whose process is lost runs again.
"""

from __future__ import annotations

import os
import time
from typing import Any

import redis
from celery import Celery, chord

_URL = os.environ.get("BENCH_CHORD_BROKER", "redis://localhost")
#: The list to which each callback adds its chord.
CALLED = "called"

queue = Celery("chords", broker=_URL, backend=_URL)
queue.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    task_default_queue="chords",
)


@queue.task(name="part")
def part(number: int) -> int:
    """Return a number, after 20 ms."""
    time.sleep(0.02)
    return number


@queue.task(name="add_up")
def add_up(numbers: list[Any], name: str) -> int:
    """Record that the callback of a chord was called."""
    redis.Redis.from_url(_URL).rpush(CALLED, name)
    return sum(numbers)


def start(parts: int, name: str) -> None:
    """Start a chord."""
    # No process waits for its result.
    chord([part.s(number) for number in range(parts)])(add_up.s(name=name)).forget()
