"""A task's options for its worker, in addition to Django's `@task`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["ATTRIBUTE", "ava_options"]

Function = TypeVar("Function", bound=Callable[..., Any])

ATTRIBUTE = "ava_options"
#: The options of `ava.worker` that the task itself determines.
_OF_TASK = frozenset({"slug", "name", "queue", "input_schema"})


def ava_options(**options: Any) -> Callable[[Function], Function]:
    """Declare options of `ava.worker` for a task, below `@task`: `@ava_options(max_retries=3, timeout_seconds=60)`.

    The node checks them when it starts. Raises `TypeError` for an option that the task decides.
    """
    if wrong := sorted(_OF_TASK & options.keys()):
        raise TypeError(f"{', '.join(wrong)}: the task itself decides it")

    def declare(function: Function) -> Function:
        setattr(function, ATTRIBUTE, options)
        return function

    return declare
