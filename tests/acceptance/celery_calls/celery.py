"""The application of the project, and its tasks."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from celery import Celery

url = os.environ.get("PROJECT_BROKER_URL", "memory://")
app = Celery("calls", broker=url, backend=url if url.startswith("redis") else None, set_as_current=False)
if os.environ.get("PROJECT_SIDE") != "celery":
    import ava_celery

    ava_celery.install(app, only=("tests.acceptance.celery_calls.celery.*",))

# Celery shares other tasks with the applications that the same process creates later, such as those of other tests.
task = partial(app.task, shared=False)


class Refused(Exception):
    """A card was refused."""


@task
def add(x, y):
    return x + y


@task(acks_late=True, reject_on_worker_lost=True)
def survives(x, y):
    time.sleep(0.01)
    return x + y


@task
def total(numbers):
    return sum(numbers)


@task
def same(value):
    return value


@task
def nothing():
    pass


@task
def refuse(card):
    raise Refused(card)


@task
def missing(key):
    return {}[key]


@task(bind=True)
def context(self):
    request = self.request
    return [request.headers and request.headers.get("customer"), request.retries, len(request.id) > 0]


@task(bind=True)
def own_id(self):
    return self.request.id


@task
def at():
    return time.time()


@task
def day_of(when):
    return [type(when).__name__, when.astimezone(UTC).isoformat()]


@task(bind=True)
def long_task(self, folder):
    """Reports its state as in flask-celery-example, and ends once a file is there."""
    self.update_state(state="PROGRESS", meta={"current": 3, "total": 10, "status": "Charging silent reticulator"})
    until = time.monotonic() + 60
    while not (Path(folder) / "end").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    return {"current": 100, "total": 100, "status": "Task completed!", "result": 42}


@task
def write(folder, name, *values):
    (Path(folder) / name).write_text(repr(values))


@task
def on_error(request, exc, traceback, folder):
    (Path(folder) / "on_error").write_text(f"{type(exc).__name__}: {exc}")


@task
def on_error_by_id(task_id, folder):
    (Path(folder) / "on_error_by_id").write_text(task_id)


@task
def starts_another(folder, value):
    write.delay(folder, "another", value)
    return value


@task(name="stays.on_celery")
def stays(x):
    return x


def now():
    return datetime.now(UTC)
