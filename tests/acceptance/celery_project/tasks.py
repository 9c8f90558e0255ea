"""Tasks in the manner of Celery's manual."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from celery import Task, chain, chord, group, shared_task
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.log import get_task_logger

from tests.acceptance.celery_project.celery import app

logger = get_task_logger(__name__)


class FailWhale(Exception):
    """A service is down."""


# Basics -------------------------------------------------------------------------------------------------------------


@app.task
def add(x, y):
    logger.info("Adding %s + %s", x, y)
    return x + y


@app.task
def mul(x: int, y: int = 10) -> int:
    return x * y


@app.task
def xsum(numbers):
    return sum(numbers)


@app.task
def hello():
    print("hello world")  # noqa: T201 - it is a line of the log


@shared_task
def count_words(string, *, unit="words"):
    return {"count": len(string.split()), "unit": unit}


@app.task(name="sum-of-two-numbers")
def named(x, y):
    return x + y


@app.task
def everything(*args, **kwargs):
    return [args, kwargs]


@app.task
def when():
    return {"at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).isoformat(), "price": str(Decimal("1.10")), "pair": (1, 2)}


@app.task(ignore_result=True)
def mytask():
    return object()


@app.task
def import_feed(url):
    return url


# The request and the state --------------------------------------------------------------------------------------------


@app.task(bind=True)
def dump_context(self, x, y):
    request = self.request
    return {"args": request.args, "kwargs": request.kwargs, "retries": request.retries, "task": request.task}


@app.task(bind=True)
def upload_files(self, filenames):
    for i, _ in enumerate(filenames):
        if not self.request.called_directly:
            self.update_state(state="PROGRESS", meta={"current": i, "total": len(filenames)})
    return len(filenames)


@app.task(bind=True)
def some_task(self):
    raise Ignore()


@app.task(bind=True)
def ignored_failure(self):
    self.update_state(
        state="FAILURE", meta={"exc_type": "ValueError", "exc_message": ["custom"], "exc_module": "builtins"}
    )
    raise Ignore()


# Retries --------------------------------------------------------------------------------------------------------------


@app.task(bind=True, default_retry_delay=0)
def send_twitter_status(self, oauth, tweet):
    try:
        if self.request.retries < 2:
            raise FailWhale("over capacity")
    except FailWhale as exc:
        raise self.retry(exc=exc)  # noqa: B904 - as the manual writes it
    return [oauth, tweet, self.request.retries]


@app.task(bind=True, max_retries=1)
def gives_up(self):
    try:
        raise FailWhale("over capacity")
    except FailWhale as exc:
        raise self.retry(countdown=0, exc=exc)  # noqa: B904 - as the manual writes it


@app.task(bind=True, max_retries=1)
def gives_up_without_an_error(self):
    raise self.retry(countdown=0)


@app.task(bind=True, max_retries=3)
def retries_at(self):
    if self.request.retries == 0:
        raise self.retry(eta=datetime.now(UTC) + timedelta(seconds=0.2))
    return self.request.retries


@app.task(bind=True)
def retries_and_goes_on(self):
    if self.request.retries == 0:
        self.retry(countdown=0, throw=False)
    return self.request.retries


@app.task(bind=True, autoretry_for=(FailWhale,), retry_kwargs={"max_retries": 5, "countdown": 0}, max_retries=5)
def refresh_timeline(self, user):
    if self.request.retries < 2:
        raise FailWhale(user)
    return self.request.retries


@app.task(autoretry_for=(Exception,), retry_backoff=1, retry_jitter=False, max_retries=1)
def x():
    raise FailWhale("again")


@app.task(autoretry_for=(Exception,), dont_autoretry_for=(ZeroDivisionError,), max_retries=5)
def divide(a, b):
    return a / b


@app.task(bind=True)
def fails_at_once(self):
    raise ValueError("no such channel")


@app.task(throws=(KeyError,))
def get_foo():
    raise KeyError("foo")


# Tasks that replace themselves ---------------------------------------------------------------------------------------


def _witness(folder, word):
    with (Path(folder) / f"words-{os.environ.get('PROJECT_SIDE', 'here')}").open("a") as file:
        file.write(f"{word}\n")


@app.task(bind=True)
def replaced_by_a_task(self, folder, x):
    _witness(folder, "the body of a replaced task runs once")
    return self.replace(add.s(x, 1))


@app.task(bind=True)
def replaced_by_a_chain(self, x):
    return self.replace(chain(add.s(x, 1), mul.s(2), add.si(x, 5)))


@app.task(bind=True)
def replaced_by_a_group(self, x):
    return self.replace(group(add.s(x, i) for i in range(3)))


@app.task(bind=True)
def replaced_by_a_chord(self, x):
    return self.replace(chord([add.s(x, i) for i in range(3)], xsum.s()))


@app.task(bind=True)
def replaced_by_a_failure(self):
    return self.replace(divide.s(1, 0))


# Rejected messages ----------------------------------------------------------------------------------------------------


@app.task(bind=True, acks_late=True)
def render_scene(self, path):
    raise Reject("out of memory", requeue=False)


@app.task(bind=True, acks_late=True)
def requeues(self, folder):
    file = Path(folder) / f"requeued-{os.environ.get('PROJECT_SIDE', 'here')}"
    if not file.exists():
        file.touch()
        raise Reject("no connection", requeue=True)
    return "done"


@app.task
def dies():
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(acks_late=True, reject_on_worker_lost=True)
def dies_once(folder):
    file = Path(folder) / f"died-{os.environ.get('PROJECT_SIDE', 'here')}"
    if not file.exists():
        file.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


# Classes --------------------------------------------------------------------------------------------------------------


class DatabaseTask(Task):
    _db: Any = None

    @property
    def db(self):
        if self._db is None:
            self._db = ["a row"]
        return self._db


@app.task(base=DatabaseTask, bind=True)
def process_rows(self):
    return self.db


class WitnessTask(Task):
    def note(self, folder, word):
        with (Path(folder) / f"words-{os.environ.get('PROJECT_SIDE', 'here')}").open("a") as file:
            file.write(f"{self.name.rpartition('.')[2]} {word}\n")

    def before_start(self, task_id, args, kwargs):
        self.note(args[0], "before_start")

    def on_success(self, retval, task_id, args, kwargs):
        self.note(args[0], f"on_success {retval}")

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        self.note(args[0], f"on_failure {exc!r}")

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        self.note(args[0], f"on_retry {exc!r}")

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        self.note(args[0], f"after_return {status}")


@app.task(base=WitnessTask)
def witnessed(folder):
    return "seen"


@app.task(base=WitnessTask, bind=True, max_retries=1)
def witnessed_failure(self, folder):
    try:
        raise FailWhale("down")
    except FailWhale as exc:
        raise self.retry(exc=exc, countdown=0)  # noqa: B904 - as the manual writes it


# Tasks that call tasks ------------------------------------------------------------------------------------------------


@app.task
def calls_directly(n):
    return add(n, 1)


@app.task
def calls_eagerly(n):
    return mul.apply(args=(n,)).result


@app.task
def publishes(n):
    add.apply_async((n, n), queue="others")
    chain(add.s(1, 1).set(queue="others"), mul.s(3).set(queue="others"))()
    group(add.s(i, i).set(queue="others") for i in range(2))()
    return "published"


__all__ = ["FailWhale", "Retry"]
