"""Declare the tasks of the applications in `AVA_CELERY_APPS` as handlers."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from celery import Celery
from celery.app.task import Task

from ava.errors import HandlerError
from ava.handler import registry
from ava.handler.registry import Handler
from ava.handler.retry_rules import NextAttempt, RetryRules
from ava_celery import apps, faults, workers
from ava_celery.handler import TaskHandler

#: A run is repeated only if the task requests it by `retry` or `autoretry_for`.
RETRIES = RetryRules(retry_on=(NextAttempt,))


@dataclass(frozen=True, kw_only=True)
class CheckedApp:
    """An application, its tasks, and the faults that keep them from being workers."""

    name: str
    app: Celery
    tasks: list[Task] = field(default_factory=list)
    #: Reasons by task name; reasons for all tasks are under the application's name.
    faults: dict[str, list[str]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return each fault as a line that names its task."""
        return [f"{name}: {reason}" for name, reasons in self.faults.items() for reason in reasons]


def check(app_name: str, *, leave_out: Container[str] = ()) -> CheckedApp:
    """Import an application and check each of its tasks. Raises `HandlerError` if it cannot be imported.

    `leave_out`: the names of tasks that belong to another application.
    """
    app = apps.load_app(app_name)
    tasks = [task for task in apps.tasks_of(app) if task.name not in leave_out]
    checked = CheckedApp(name=app_name, app=app, tasks=tasks)
    found = {app_name: faults.of_app(app)} | {task.name: faults.of_task(app, task) for task in checked.tasks}
    for name, reason in faults.of_tasks(checked.tasks):
        found[name].append(reason)
    checked.faults.update({name: reasons for name, reasons in found.items() if reasons})
    return checked


def load(app_names: Iterable[str]) -> Mapping[str, list[str]]:
    """Declare every task of the applications. Return the worker ids of each application.

    Raises `HandlerError`, which names each task that cannot be a worker, and `WorkerConflict` if two have one id.
    """
    declared: dict[str, list[str]] = {}
    known: set[str] = set()
    for name in app_names:
        # Celery shares the tasks of an application with the applications that are created after it.
        checked = check(name, leave_out=known)
        known.update(task.name for task in checked.tasks)
        declared[name] = _declare(checked)
    return declared


def _declare(checked: CheckedApp) -> list[str]:
    if checked.faults:
        raise HandlerError(
            f"AVA_CELERY_APPS: {checked.name} has tasks that would behave differently here: "
            f"{'; '.join(checked.lines())}. "
            f"`ava celery check {checked.name}` lists them."
        )
    apps.connect_fixups(checked.app)
    ids = []
    for task in checked.tasks:
        spec = workers.spec_of(checked.app, task)
        function = TaskHandler(checked.app, task)
        registry.register(Handler(spec=spec, function=function, is_async=False, takes_env=True, retries=RETRIES))
        ids.append(spec.id)
    _drop_trace_lines({task.name for task in checked.tasks})
    return ids


def _drop_trace_lines(names: set[str]) -> None:
    """Drop Celery's log lines about these tasks, because each job's log already contains the outcome."""

    def is_wanted(record: logging.LogRecord) -> bool:
        return not (isinstance(record.args, Mapping) and record.args.get("name") in names)

    logging.getLogger("celery.app.trace").addFilter(is_wanted)
