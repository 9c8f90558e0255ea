"""Find the tasks that would behave differently than on plain Celery, with the change that makes them fit."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Fault:
    """Why a task cannot be a worker, and the change that removes the reason."""

    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.fix}"


def of_tasks(tasks: Iterable[Task]) -> Iterator[tuple[str, Fault]]:
    """Yield each task whose worker id another task before it has, with the fault."""
    by_slug = defaultdict(list)
    for task in tasks:
        by_slug[slug_of(task.name)].append(task.name)
    for slug, (first, *others) in by_slug.items():
        for name in others:
            yield name, Fault(f"it and {first} would both be wkr_{slug}", "set another name= for one task")


def of_task(app: Celery, task: Task) -> list[Fault]:
    """Return the faults of a task; empty if it can be a worker."""
    return [*_options(app, task), *(Fault(*found) for found in sources.faults(task))]


def _options(app: Celery, task: Task) -> Iterator[Fault]:
    for name, serializer in (("serializer", task.serializer), ("result_serializer", app.conf.result_serializer)):
        if serializer not in (None, _JSON):
            yield Fault(f"{name}={serializer!r}, but arguments and results are JSON here", f'set {name}="json"')
    yield from _retries(task)
    yield from _limits(app, task)
    if not _can_expire(task.expires):
        yield Fault(f"expires={task.expires!r}", f"set whole seconds from 1 to {trigger_options.MAX_EXPIRY_SECONDS}")
    if inspect.iscoroutinefunction(workers.body_of(task)):
        yield Fault("it is async def, which Celery does not await", "declare it with ava.worker")
    yield from _queue(app, task)


def _limits(app: Celery, task: Task) -> Iterator[Fault]:
    longest = workers.MAX_TIMEOUT_SECONDS
    try:
        workers.rate_of(task)
    except ValueError:
        yield Fault(f"rate_limit={task.rate_limit!r} is no rate", 'set one such as "100/m"')
    if (hard := workers.hard_limit(app, task)) is not None and not 0 < hard <= longest:
        yield Fault(f"time_limit={hard:g}", f"set above 0, and at most {longest} s")
    elif hard is None and (soft := workers.soft_limit(app, task)) is not None and soft >= longest:
        yield Fault(f"soft_time_limit={soft:g}, but the job ends after {longest} s", f"set less than {longest}")


def _retries(task: Task) -> Iterator[Fault]:
    fix = f"set 0 to {MAX_RETRIES}"
    if task.max_retries is None:
        yield Fault("max_retries=None is unlimited, but here a job must end", fix)
    elif not 0 <= task.max_retries <= MAX_RETRIES:
        yield Fault(f"max_retries={task.max_retries}", fix)
    if (repeats := workers.autoretry_max_retries(task)) is not None and not 0 <= repeats <= MAX_RETRIES:
        yield Fault(f"retry_kwargs has max_retries={repeats}", fix)


def _can_expire(expires: object) -> bool:
    if isinstance(expires, timedelta | bool):
        return False
    return expires is None or (
        isinstance(expires, int | float)
        and expires == int(expires)
        and 1 <= expires <= trigger_options.MAX_EXPIRY_SECONDS
    )


def _queue(app: Celery, task: Task) -> Iterator[Fault]:
    try:
        queue = workers.queue_of(app, task)
    except Exception as error:
        yield Fault(f"its route fails without arguments: {type(error).__name__}: {error}", "route it by its name")
        return
    if not _QUEUE.fullmatch(queue) or queue.startswith(RESERVED):
        yield Fault(f"queue {queue!r}", f"use a name that matches {_QUEUE.pattern} and does not begin with {RESERVED}")
