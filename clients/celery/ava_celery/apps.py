"""Load an author's Celery applications by name, and find their tasks as Celery's own worker does."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from celery import Celery
from celery.app.task import Task
from celery.local import Proxy

from ava.domain.jobs.messages import TASK
from ava.errors import HandlerError

#: The prefix of the tasks that each application registers itself, and those of them that canvases call.
_CELERYS_OWN = "celery."
_OF_CANVASES = ("celery.accumulate", "celery.map", "celery.starmap")


def module_of(app_name: str) -> str:
    """Return the module of `proj.celery:app`. Raises `HandlerError` for another form."""
    module, separator, attribute = app_name.partition(":")
    if not (module and separator and attribute):
        raise HandlerError(f"AVA_CELERY_APPS: {app_name!r} must name a module and its application: proj.celery:app")
    return module


def load_app(app_name: str) -> Celery:
    """Import an application, as `proj.celery:app`, and the modules of its tasks. Raises `HandlerError`."""
    module, _, attribute = module_of(app_name), ":", app_name.partition(":")[2]
    try:
        found = getattr(importlib.import_module(module), attribute, None)
        app = found._get_current_object() if isinstance(found, Proxy) else found
        if isinstance(app, Celery):
            app.loader.import_default_modules()
            app.finalize()
    except Exception as error:
        raise HandlerError(
            f"AVA_CELERY_APPS: {app_name!r} cannot be imported: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(app, Celery):
        raise HandlerError(f"AVA_CELERY_APPS: {attribute!r} of the module {module!r} is no application of Celery")
    return app


def connect_fixups(app: Celery) -> None:
    """Connect Celery's receivers for Django, which close database connections around each task.

    Celery connects them only for the application of its worker, and here that is the node's.
    """
    for fixup in app._fixups:
        if fixup is not None:
            fixup.worker_fixup.install()


def tasks_of(app: Celery) -> Iterator[Task]:
    """Yield the author's tasks, sorted by name.

    Skip the node's own task, because Celery shares a task with every application of the process.
    """
    for name in sorted(app.tasks):
        if name != TASK and not name.startswith(_CELERYS_OWN):
            yield app.tasks[name]


def canvas_tasks_of(app: Celery) -> Iterator[Task]:
    """Yield Celery's own tasks that canvases call, such as `celery.starmap`."""
    yield from (app.tasks[name] for name in _OF_CANVASES)
