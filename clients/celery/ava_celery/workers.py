"""Define the worker that a task becomes: its id, its options, and the schema of its input."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from celery import Celery
from celery.app.task import Task

from ava.client.slugs import slug_of
from ava.domain.jobs.messages import DEFAULT_QUEUE
from ava.domain.limits.rates import Rate
from ava.domain.worker import OnWorkerLost, WorkerLimits, WorkerSpec

#: Max timeout of a run in seconds, and the timeout of a task without a hard limit.
MAX_TIMEOUT_SECONDS = 3600
#: Seconds of the units of a `rate_limit`.
_UNITS = {"s": 1, "m": 60, "h": 3600}


def id_of(task: Task) -> str:
    """Return the id of a task's worker."""
    return f"wkr_{slug_of(task.name)}"


def spec_of(app: Celery, task: Task) -> WorkerSpec:
    """Return the definition of a task's worker. The task has no faults (`faults.of_task`)."""
    hard, requeues = hard_limit(app, task), task.acks_late and task.reject_on_worker_lost
    return WorkerSpec(
        id=id_of(task),
        name=task.name,
        description=inspect.getdoc(body_of(task)) or "",
        timeout_seconds=hard or MAX_TIMEOUT_SECONDS,
        max_retries=max_retries(task),
        cancel_grace_seconds=10,
        queue=queue_of(app, task),
        tenants=None,
        on_worker_lost=OnWorkerLost.REQUEUE if requeues else OnWorkerLost.FAIL,
        limits=WorkerLimits(rate=rate_of(task)),
        input_schema_json=json.dumps(input_schema(task)),
        expires_in_seconds=None if task.expires is None else int(task.expires),
    )


def rate_of(task: Task) -> Rate | None:
    """Return the rate of a task's `rate_limit`, such as `100/m`. Here it applies to the whole system.

    Raises `ValueError` for an invalid one.
    """
    count, _, unit = str(task.rate_limit or 0).partition("/")
    if unit not in ("", *_UNITS):
        raise ValueError(unit)
    if (exact := Fraction(count).limit_denominator(1_000_000)) < 0:
        raise ValueError(count)
    seconds = float(exact.denominator * _UNITS[unit or "s"])
    return Rate(jobs=exact.numerator, seconds=seconds) if exact else None


def hard_limit(app: Celery, task: Task) -> float | None:
    """Return the seconds until Celery would kill the task's process; None: never."""
    limit = task.time_limit or app.conf.task_time_limit
    return None if limit is None else float(limit)


def soft_limit(app: Celery, task: Task) -> float | None:
    """Return the seconds until `SoftTimeLimitExceeded` is raised in the task; None: never."""
    limit = task.soft_time_limit or app.conf.task_soft_time_limit
    return None if limit is None else float(limit)


def max_retries(task: Task) -> int:
    """Return the larger limit of retries of a task: Celery counts `self.retry` and `autoretry_for` separately."""
    return max(int(task.max_retries), autoretry_max_retries(task) or 0)


def autoretry_max_retries(task: Task) -> int | None:
    """Return the limit of retries by `autoretry_for` in `retry_kwargs`; None: the task's limit."""
    if not getattr(task, "autoretry_for", ()):
        return None
    found: int | None = (getattr(task, "retry_kwargs", None) or {}).get("max_retries")
    return found


def queue_of(app: Celery, task: Task) -> str:
    """Return the queue to which the application routes the task; its default queue becomes `default`."""
    route = app.amqp.router.route({}, task.name, args=(), kwargs={})
    queue = getattr(task, "queue", None) or route.get("queue")
    name = getattr(queue, "name", queue) or DEFAULT_QUEUE
    return DEFAULT_QUEUE if name == app.conf.task_default_queue else str(name)


def body_of(task: Task) -> Callable[..., Any]:
    """Return the author's function, without the wrapper of `autoretry_for`."""
    body: Callable[..., Any] = getattr(task, "_orig_run", task.run)
    return body


def input_schema(task: Task) -> dict[str, Any]:
    """Return the JSON Schema of `{"args": […], "kwargs": {…}, "request": {…}}`, with the arguments of the task."""
    args: dict[str, Any] = {"type": "array"}
    kwargs: dict[str, Any] = {"type": "object"}
    if task.typing:
        parameters = inspect.signature(body_of(task)).parameters.values()
        kinds = {parameter.kind for parameter in parameters}
        if inspect.Parameter.VAR_POSITIONAL not in kinds:
            args["maxItems"] = sum(
                each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in parameters
            )
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            names = [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
            kwargs |= {"properties": dict.fromkeys(names, True), "additionalProperties": False}
    return {
        "type": "object",
        # `request`: fields of `self.request` that callers send (`entries.call_of`).
        "properties": {"args": args, "kwargs": kwargs, "request": {"type": "object"}},
        "additionalProperties": False,
    }
