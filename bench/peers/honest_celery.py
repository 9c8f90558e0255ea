"""Celery with a record of each job, as a careful author writes it: `celery -A bench.peers.honest_celery:queue worker`.

A row and four log lines for each job: a statement and a commit before the handler, two and a commit after it. It has
no tenants, no leases, no recovery, no cancel and no fairness. Its addresses are `BENCH_HONEST_BROKER` and
`BENCH_HONEST_DATABASE`.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import Any

import psycopg2
from celery import Celery
from celery.signals import worker_process_init
from psycopg2.extras import execute_values

QUEUE = "honest"
SCHEMA = """
DROP TABLE IF EXISTS jobs, job_lines;
CREATE TABLE jobs (id bigint PRIMARY KEY, status text NOT NULL DEFAULT 'queued', input json NOT NULL, output json,
    created_at timestamptz NOT NULL DEFAULT now(), started_at timestamptz, finished_at timestamptz);
CREATE TABLE job_lines (job_id bigint, n int, at timestamptz NOT NULL, level text NOT NULL, message text NOT NULL,
    PRIMARY KEY (job_id, n))
"""

queue = Celery("honest", broker=os.environ.get("BENCH_HONEST_BROKER", "memory://"))
queue.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    task_default_queue=QUEUE,
)
_connections: list[Any] = []


@worker_process_init.connect
def _connect(**_: Any) -> None:
    _connections[:] = [psycopg2.connect(os.environ["BENCH_HONEST_DATABASE"])]


@queue.task(name="nap")
def nap(job_id: int, ms: float) -> None:
    """Wait, as for another service, and write the record."""
    (connection,) = _connections
    lines: list[tuple[int, int, datetime, str, str]] = []

    def log(message: str) -> None:
        lines.append((job_id, len(lines), datetime.now(UTC), "info", message))

    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs SET status = 'running', started_at = now() WHERE id = %s AND status = 'queued'", (job_id,)
        )
        connection.commit()
        log("start")
        log("one")
        time.sleep(ms / 1000)
        log("two")
        log("done")
        cursor.execute(
            "UPDATE jobs SET status = 'completed', output = %s, finished_at = now() WHERE id = %s",
            (json.dumps({"ok": 1}), job_id),
        )
        execute_values(cursor, "INSERT INTO job_lines VALUES %s", lines)
        connection.commit()
