"""The tasks of a project that use one of our backends, by worker id."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from types import ModuleType

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.tasks import task_backends
from django.tasks.base import Task
from django.utils.module_loading import module_has_submodule

from ava.client.slugs import slug_of

__all__ = ["tasks_by_worker", "worker_id_of"]


def worker_id_of(task: Task) -> str:
    """Return the id of a task's worker: `wkr_` and its path with `_` for `.`."""
    return f"wkr_{slug_of(task.module_path)}"


@cache
def tasks_by_worker() -> dict[str, Task]:
    """Return the tasks in each application's `tasks` module and in the modules of `OPTIONS["modules"]`.

    Raises `ImproperlyConfigured` if two tasks have the same worker id.
    """
    found: dict[str, Task] = {}
    for module in _modules():
        for value in vars(module).values():
            if isinstance(value, Task) and _is_ours(value):
                known = found.setdefault(worker_id_of(value), value)
                if known.module_path != value.module_path:
                    raise ImproperlyConfigured(
                        f"The tasks {known.module_path} and {value.module_path} would both be {worker_id_of(value)}; "
                        "rename one task."
                    )
    return found


def _is_ours(task: Task) -> bool:
    from ava_django.backend import AvaBackend

    return isinstance(task.get_backend(), AvaBackend)


def _modules() -> Iterator[ModuleType]:
    for config in apps.get_app_configs():
        if module_has_submodule(config.module, "tasks"):
            yield importlib.import_module(f"{config.name}.tasks")
    for alias in task_backends:
        for name in task_backends[alias].options.get("modules", ()):
            yield importlib.import_module(name)
