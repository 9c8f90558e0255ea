"""Measure what `.delay()` costs its caller on AVA Jobs: alone, in a loop, in a group, and into an outbox.

The *baseline* is Celery on Redis.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import ava_celery
from celery import Celery, group
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

#: Calls of one round; the ways take turns.
_ROUND = 50
#: Calls of a loop or a group, whose time is divided by their number.
_TOGETHER = 200


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


def _loop(task: Any) -> None:
    for number in range(_TOGETHER):
        task.delay(number)


def _combined(task: Any) -> None:
    with ava_celery.together():
        _loop(task)


def _group(task: Any) -> None:
    group(task.s(number) for number in range(_TOGETHER)).apply_async()


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
        ways: dict[str, dict[str, tuple[int, Callable[[int], Any]]]] = {
            "delay()": {BASELINE: (_ROUND, celery.delay), OURS: (_ROUND, on_ava.delay)},
            "delay() into an outbox": {BASELINE: (_ROUND, celery.delay), OURS: (_ROUND, outbox)},
            "delay() in a loop, a job": {
                BASELINE: (1, lambda _: _loop(celery)),
                OURS: (1, lambda _: _combined(on_ava)),
            },
            "delay() in a group, a job": {
                BASELINE: (1, lambda _: _group(celery)),
                OURS: (1, lambda _: _group(on_ava)),
            },
        }
        took: dict[tuple[str, str], list[float]] = defaultdict(list)
        for round_ in range(run.count(1_000, least=100) // _ROUND + 1):
            for name, sides in ways.items():
                for side, (count, call) in sides.items():
                    found = _milliseconds(call, count)
                    # The first round connects.
                    took[name, side] += found if round_ else []
    for (name, side), found in took.items():
        calls = _TOGETHER if name.endswith("a job") else 1
        figures = {f"p{percent} ms": percentile(found, percent) / calls for percent in (50, 99)}
        run.table.add(name, side, figures)
