"""Find the tasks that would behave differently than on plain Celery. A node refuses to start with one."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import timedelta

from celery import Celery
from celery.app.task import Task

from ava.client.slugs import slug_of
from ava.domain.jobs import trigger_options
from ava.domain.jobs.messages import RESERVED
from ava.domain.jobs.retry import MAX_RETRIES
from ava_celery import sources, workers

_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
#: The serializer of tasks: inputs and outputs are JSON.
_JSON = "json"


def of_app(app: Celery) -> list[str]:
    """Return the faults of an application's settings, which concern each of its tasks."""
    found = []
    if others := sorted({str(each) for each in app.conf.accept_content or ()} - {_JSON, "application/json"}):
        found.append(f"accept_content has {', '.join(others)}; arguments and results are JSON here")
    return found


def of_tasks(tasks: Iterable[Task]) -> Iterator[tuple[str, str]]:
    """Yield each task that shares its worker id with another task, with the reason."""
    by_slug = defaultdict(list)
    for task in tasks:
        by_slug[slug_of(task.name)].append(task.name)
    for slug, names in by_slug.items():
        if len(set(names)) > 1:
            yield names[0], f"it and {', '.join(names[1:])} would both be wkr_{slug}; set another name= for one task"


def of_task(app: Celery, task: Task) -> list[str]:
    """Return why a task cannot be a worker; empty if it can."""
    return [*_options(app, task), *sources.faults(task)]


def _options(app: Celery, task: Task) -> Iterator[str]:
    for name, serializer in (("serializer", task.serializer), ("result_serializer", app.conf.result_serializer)):
        if serializer not in (None, _JSON):
            yield f"{name}={serializer!r}: arguments and results are JSON here"
    yield from _retries(task)
    if task.rate_limit:
        yield (
            f"rate_limit={task.rate_limit!r} applies per worker instance in Celery; here a rate of the worker "
            f"wkr_{slug_of(task.name)} applies to the whole system"
        )
    if (hard := workers.hard_limit(app, task)) is not None and not 0 < hard <= workers.MAX_TIMEOUT_SECONDS:
        yield f"time_limit={hard:g}: above 0, and at most {workers.MAX_TIMEOUT_SECONDS} s here"
    elif hard is None and (soft := workers.soft_limit(app, task)) is not None and soft >= workers.MAX_TIMEOUT_SECONDS:
        yield f"soft_time_limit={soft:g}: below {workers.MAX_TIMEOUT_SECONDS} here, because the job ends then"
    if not _can_expire(task.expires):
        yield f"expires={task.expires!r}: whole seconds from 1 to {trigger_options.MAX_EXPIRY_SECONDS} here"
    if inspect.iscoroutinefunction(workers.body_of(task)):
        yield "it is async def, which Celery does not await; declare it with ava.worker"
    yield from _queue(app, task)


def _retries(task: Task) -> Iterator[str]:
    if task.max_retries is None:
        yield f"max_retries=None is unlimited, but here a job must end; set 0 to {MAX_RETRIES}"
    elif not 0 <= task.max_retries <= MAX_RETRIES:
        yield f"max_retries={task.max_retries}: at most {MAX_RETRIES} here"
    if (repeats := workers.autoretry_max_retries(task)) is not None and not 0 <= repeats <= MAX_RETRIES:
        yield f"retry_kwargs has max_retries={repeats}: 0 to {MAX_RETRIES} here"


def _can_expire(expires: object) -> bool:
    if isinstance(expires, timedelta | bool):
        return False
    return expires is None or (
        isinstance(expires, int | float)
        and expires == int(expires)
        and 1 <= expires <= trigger_options.MAX_EXPIRY_SECONDS
    )


def _queue(app: Celery, task: Task) -> Iterator[str]:
    try:
        queue = workers.queue_of(app, task)
    except Exception as error:
        yield f"its route cannot be read without arguments: {type(error).__name__}: {error}"
        return
    if not _QUEUE.fullmatch(queue) or queue.startswith(RESERVED):
        yield f"queue {queue!r}: a queue must match {_QUEUE.pattern} here, and not begin with {RESERVED}"
