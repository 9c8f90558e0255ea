"""Measure what `.delay()` costs its caller on AVA Jobs and with an outbox; the *baseline* is Celery on Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import ava_celery
from celery import Celery
from sqlalchemy import MetaData, create_engine
from sqlalchemy.orm import Session

import ava
from ava.client import Client
from ava.client.outbox.sqlalchemy import Outbox
from bench.load import percentile
from bench.run import Run
from bench.servers import running_system
from bench.table import BASELINE, OURS
from harness.system import HEADERS, SECRET

#: Calls of one round; the three ways take turns.
_ROUND = 50


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


@contextmanager
def _in_outbox(task: Any, url: str) -> Iterator[Callable[[int], None]]:
    """Yield a call in a transaction that is open, as a web request has one; its commit is not measured."""
    engine, metadata = create_engine(url), MetaData()
    outbox = Outbox(metadata)
    metadata.create_all(engine)
    with Session(engine) as session:
        ava_celery.install(task.app, outbox=lambda: partial(outbox.trigger, session))
        yield task.delay
    engine.dispose()


def delays(run: Run) -> None:
    """Measure the milliseconds of each call."""
    with ExitStack() as stack:
        system, _ = stack.enter_context(running_system(environ={"AVA_HANDLERS": "bench.handlers"}))
        # Jobs are created but not run: a node would share the processors.
        system.workers[0].terminate()
        redis = urlsplit(system.broker_url)._replace(path="/1").geturl()
        celery, on_ava, in_outbox = _task(redis), _task(redis), _task(redis)
        ava.configure(Client(system.url, secret=SECRET, tenant=HEADERS["x-tenant-id"], user="usr_bench"))
        ava_celery.install(on_ava.app)
        outbox = stack.enter_context(_in_outbox(in_outbox, system.database_url.replace("://", "+psycopg2://", 1)))
        ways = {"Celery on Redis": celery.delay, "AVA Jobs": on_ava.delay, "an outbox": outbox}
        took: dict[str, list[float]] = {name: [] for name in ways}
        for round_ in range(run.count(1_000, least=100) // _ROUND + 1):
            for name, call in ways.items():
                found = _milliseconds(call, _ROUND)
                # The first round connects.
                took[name] += found if round_ else []
    base, *others = ({f"p{percent} ms": percentile(found, percent) for percent in (50, 99)} for found in took.values())
    for name, figures in zip(("delay()", "delay() into an outbox"), others, strict=True):
        run.table.add(name, BASELINE, base)
        run.table.add(name, OURS, figures)
