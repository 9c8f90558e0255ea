"""A handler module: `AVA_HANDLERS=ava_django.handlers` makes a node run each task of the project.

Its import, in the node's parent process, sets up Django with `DJANGO_SETTINGS_MODULE`.
"""

from __future__ import annotations

from collections.abc import Callable
from traceback import format_exception
from typing import Any

import django
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.db import close_old_connections, connections, reset_queries
from django.tasks.base import Task, TaskContext, TaskError, TaskResult, TaskResultStatus
from django.tasks.signals import task_finished, task_started
from django.utils import timezone
from django.utils.json import normalize_json

from ava import Env, Interruption, worker
from ava.client.reading import read
from ava.client.records import Job

django.setup()

from ava_django import results  # noqa: E402 - they need the applications
from ava_django.discovery import tasks_by_worker  # noqa: E402
from ava_django.options import ATTRIBUTE  # noqa: E402

#: The task itself checks its arguments.
_SCHEMA = {
    "type": "object",
    "properties": {"args": {"type": "array"}, "kwargs": {"type": "object"}},
    "additionalProperties": False,
}


def _begin(task: Task, env: Env) -> TaskResult:
    """Send the signal of a task's start and return its result so far."""
    _use_fresh_connections()
    result = results.of_job(read(Job, env.job), task, alias=task.backend)
    object.__setattr__(result, "status", TaskResultStatus.RUNNING)
    task_started.send(type(task.get_backend()), task_result=result)
    return result


def _complete(task: Task, result: TaskResult, output: Any) -> Any:
    value = normalize_json(output)
    object.__setattr__(result, "_return_value", value)
    object.__setattr__(result, "status", TaskResultStatus.SUCCESSFUL)
    _finish(task, result)
    return value


def _fail(task: Task, result: TaskResult, env: Env, error: BaseException) -> None:
    if isinstance(error, Interruption):
        # It may have left a statement unanswered.
        connections.close_all()
        return
    if env.attempt < env.job["max_attempts"]:
        return
    kind = type(error)
    path = f"{kind.__module__}.{kind.__qualname__}"
    result.errors.append(TaskError(exception_class_path=path, traceback="".join(format_exception(error))))
    object.__setattr__(result, "status", TaskResultStatus.FAILED)
    _finish(task, result)


def _finish(task: Task, result: TaskResult) -> None:
    object.__setattr__(result, "finished_at", timezone.now())
    task_finished.send(type(task.get_backend()), task_result=result)


def _use_fresh_connections() -> None:
    reset_queries()
    close_old_connections()


def _arguments(task: Task, result: TaskResult) -> list[Any]:
    return [TaskContext(task_result=result), *result.args] if task.takes_context else list(result.args)


def _sync_handler(task: Task) -> Callable[[dict[str, Any], Env], Any]:
    def run(_input: dict[str, Any], env: Env) -> Any:
        result = _begin(task, env)
        try:
            return _complete(task, result, task.func(*_arguments(task, result), **result.kwargs))
        except BaseException as error:
            _fail(task, result, env, error)
            raise
        finally:
            close_old_connections()

    return run


def _async_handler(task: Task) -> Callable[[dict[str, Any], Env], Any]:
    async def run(_input: dict[str, Any], env: Env) -> Any:
        result = await sync_to_async(_begin)(task, env)
        try:
            output = await task.func(*_arguments(task, result), **result.kwargs)
            return await sync_to_async(_complete)(task, result, output)
        except BaseException as error:
            if isinstance(error, Exception):
                await sync_to_async(_fail)(task, result, env, error)
            raise
        finally:
            # The connections belong to the thread of this event loop, which ends with the run.
            await sync_to_async(connections.close_all)()

    return run


def _declare(worker_id: str, task: Task) -> None:
    run = (_async_handler if iscoroutinefunction(task.func) else _sync_handler)(task)
    run.__module__, run.__qualname__, run.__doc__ = task.func.__module__, task.func.__qualname__, task.func.__doc__
    options = getattr(task.func, ATTRIBUTE, {})
    worker(
        worker_id.removeprefix("wkr_"), name=task.module_path, queue=task.queue_name, input_schema=_SCHEMA, **options
    )(run)


for _id, _task in tasks_by_worker().items():
    _declare(_id, _task)
# The node forks its children after this; each opens its own connections.
connections.close_all()
