"""Declare the tasks of the applications in `AVA_CELERY_APPS` as handlers."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from celery import Celery
from celery.app.task import Task

from ava.errors import HandlerError
from ava.handler import registry
from ava.handler.registry import Handler
from ava.handler.retry_rules import NextAttempt, RetryRules
from ava.settings import Settings
from ava_celery import apps, faults, workers
from ava_celery.faults import Fault
from ava_celery.handler import TaskHandler

#: A run is repeated only if the task requests it by `retry` or `autoretry_for`.
RETRIES = RetryRules(retry_on=(NextAttempt,))


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The tasks to offer, by patterns of their names as in a shell; `only` is empty for all."""

    only: Sequence[str] = ()
    skip: Sequence[str] = ()

    def includes(self, name: str) -> bool:
        """Return True if a task is offered."""
        is_wanted = not self.only or any(fnmatchcase(name, pattern) for pattern in self.only)
        return is_wanted and not any(fnmatchcase(name, pattern) for pattern in self.skip)


@dataclass(frozen=True, kw_only=True)
class CheckedApp:
    """An application, its selected tasks, and the faults that keep tasks from being workers."""

    name: str
    app: Celery
    tasks: list[Task] = field(default_factory=list)
    #: The names of the tasks that the settings leave out.
    left_out: list[str] = field(default_factory=list)
    #: Faults by task name.
    faults: dict[str, list[Fault]] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """Return each fault as a line that names its task."""
        return [f"{name}: {fault}" for name, found in self.faults.items() for fault in found]

    @property
    def workers(self) -> list[Task]:
        """Return the tasks that can be workers."""
        return [task for task in self.tasks if task.name not in self.faults]


def selection_of(settings: Settings) -> Selection:
    """Return the selection of `AVA_CELERY_ONLY` and `AVA_CELERY_SKIP`."""
    return Selection(only=settings.celery_only, skip=settings.celery_skip)


def check(app_name: str, selection: Selection, *, leave_out: Container[str] = ()) -> CheckedApp:
    """Import an application and check its selected tasks. Raises `HandlerError` if it cannot be imported.

    `leave_out`: the names of tasks that belong to another application.
    """
    app = apps.load_app(app_name)
    own = [task for task in apps.tasks_of(app) if task.name not in leave_out]
    tasks = [task for task in own if selection.includes(task.name)]
    found = {task.name: faults.of_task(app, task) for task in tasks}
    for name, fault in faults.of_tasks(tasks):
        found[name].append(fault)
    return CheckedApp(
        name=app_name,
        app=app,
        tasks=tasks,
        left_out=[task.name for task in own if task not in tasks],
        faults={name: each for name, each in found.items() if each},
    )


def load(settings: Settings) -> Mapping[str, tuple[list[str], list[str]]]:
    """Declare the tasks of the applications in `AVA_CELERY_APPS`, and skip those that cannot be workers.

    Returns for each application the ids of its workers, and a line for each fault of a skipped task. Raises
    `HandlerError` if an application cannot be imported or, with `AVA_CELERY_STRICT`, for a skipped task, and
    `WorkerConflict` if two handlers have one id.
    """
    declared: dict[str, tuple[list[str], list[str]]] = {}
    known: set[str] = set()
    for name in settings.celery_apps:
        # Celery shares the tasks of an application with the applications that are created after it.
        checked = check(name, selection_of(settings), leave_out=known)
        known.update(task.name for task in checked.tasks)
        if checked.faults and settings.celery_is_strict:
            raise HandlerError(
                f"AVA_CELERY_STRICT: {name} has tasks that cannot be workers: {'; '.join(checked.lines)}. "
                f"`ava celery check {name}` lists them."
            )
        declared[name] = _declare(checked), checked.lines
    return declared


def _declare(checked: CheckedApp) -> list[str]:
    apps.connect_fixups(checked.app)
    ids = []
    # Celery's own tasks belong to the first application.
    of_canvases = [each for each in apps.canvas_tasks_of(checked.app) if registry.find(workers.id_of(each)) is None]
    for task in [*checked.workers, *(of_canvases if checked.workers else ())]:
        spec = workers.spec_of(checked.app, task)
        function = TaskHandler(checked.app, task)
        registry.register(Handler(spec=spec, function=function, is_async=False, takes_env=True, retries=RETRIES))
        ids.append(spec.id)
    _drop_trace_lines({task.name for task in checked.workers})
    return ids


def _drop_trace_lines(names: set[str]) -> None:
    """Drop Celery's log lines about these tasks, because each job's log already contains the outcome."""

    def is_wanted(record: logging.LogRecord) -> bool:
        return not (isinstance(record.args, Mapping) and record.args.get("name") in names)

    logging.getLogger("celery.app.trace").addFilter(is_wanted)
