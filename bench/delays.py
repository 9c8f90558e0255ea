"""`python -m bench.delays`: what `.delay()` costs its caller on Celery with Redis, on AVA Jobs, and with an outbox."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ava_celery
from celery import Celery
from sqlalchemy import MetaData, create_engine
from sqlalchemy.orm import Session

import ava
from ava.client import Client
from ava.client.outbox.sqlalchemy import Outbox
from bench.load import percentile
from harness.servers.postgres import running_postgres
from harness.servers.redis import fresh_redis_url, running_redis
from harness.system import HEADERS, SECRET, System

#: Calls of one round; the three ways take turns.
_ROUND = 50
#: The promised ratio of the medians.
_MAX_RATIO = 1.5


def _task(url: str) -> Any:
    app = Celery("noop", broker=url, backend=url, set_as_current=False)

    @app.task(name="noop", shared=False)
    def noop(order: int) -> None: ...

    return app.tasks["noop"]


def _milliseconds(call: Callable[[int], Any], count: int) -> list[float]:
    took = []
    for number in range(count):
        began = time.perf_counter()
        call(number)
        took.append((time.perf_counter() - began) * 1000)
    return took


def _with_outbox(task: Any, url: str) -> Callable[[int], None]:
    """Return a call in a transaction that is open, as a web request has one; its commit is not measured."""
    engine, metadata = create_engine(url), MetaData()
    outbox = Outbox(metadata)
    metadata.create_all(engine)
    session = Session(engine)
    ava_celery.install(task.app, outbox=lambda: partial(outbox.trigger, session))

    def call(number: int) -> None:
        task.delay(number)

    return call


def measure(system: System, redis_url: str, database_url: str, calls: int) -> dict[str, list[float]]:
    """Return the milliseconds of each call."""
    celery, on_ava, in_outbox = _task(redis_url), _task(redis_url), _task(redis_url)
    ava.configure(Client(system.url, secret=SECRET, tenant=HEADERS["x-tenant-id"], user="usr_bench"))
    ava_celery.install(on_ava.app)
    ways = {
        "Celery on Redis": celery.delay,
        "AVA Jobs": on_ava.delay,
        "outbox": _with_outbox(in_outbox, database_url),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(calls // _ROUND + 1):
        for name, call in ways.items():
            found = _milliseconds(call, _ROUND)
            # The first round connects.
            took[name] += found if round_ else []
    return took


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000, help="of each way (%(default)s)")
    calls = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as folder, running_postgres() as postgres, running_redis() as redis:
        system = System(Path(folder), database_url=postgres.url, broker_url=fresh_redis_url(redis))
        system.run("db", "upgrade")
        system.start(workers=0, environ={"AVA_HANDLERS": "bench.handlers"})
        try:
            # Jobs are created but not run: a node would share the processors.
            system.start_worker().terminate()
            url = postgres.url.replace("://", "+psycopg2://", 1)
            took = measure(system, fresh_redis_url(redis), url, calls)
        finally:
            system.stop()
    base = percentile(took["Celery on Redis"], 50)
    for name, found in took.items():
        p50, p99 = percentile(found, 50), percentile(found, 99)
        print(f"{name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, {p50 / base:.2f} of Celery (promised: {_MAX_RATIO})")


if __name__ == "__main__":
    main()
