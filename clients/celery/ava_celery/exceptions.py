"""Exceptions of a job's `error`, as Celery would raise them in the caller."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterator

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import exceptions
from celery.app.task import Task
from celery.utils.serialization import create_exception_cls

_TIMEOUT = re.compile(r"exceeded (?P<seconds>\d+(?:\.\d+)?) s")


def exception_of(error: str | None, task: Task | None) -> BaseException:
    """Return the exception of an error line `Kind: reason`.

    The class is found by its name: in the task's module, in Python, in Celery, or among the loaded exceptions.
    Otherwise it is created, as Celery does for a class that it cannot import.
    """
    kind, _, reason = (error or "Exception").partition(": ")
    if kind == "Timeout" and (found := _TIMEOUT.match(reason)):
        return TimeLimitExceeded(float(found["seconds"]))  # type: ignore[no-any-return]
    if kind == "WorkerLost":
        return WorkerLostError(reason)  # type: ignore[no-any-return]
    if kind == "GiveUp" and reason.startswith("rejected: "):
        return exceptions.Reject(reason.removeprefix("rejected: "))  # type: ignore[no-any-return]
    return _raised(_class_of(kind, task), _arguments(kind, reason))


def _class_of(kind: str, task: Task | None) -> type[BaseException]:
    module = None if task is None else sys.modules.get(task.__module__)
    for owner in (module, builtins, exceptions):
        found = getattr(owner, kind, None)
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
    for found in _subclasses(Exception):
        if found.__name__ == kind:
            return found
    return create_exception_cls(kind, "celery.exceptions")  # type: ignore[no-any-return]


def _subclasses(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for found in kind.__subclasses__():
        yield found
        yield from _subclasses(found)


def _arguments(kind: str, reason: str) -> tuple[object, ...]:
    """Return the arguments of the exception. `KeyError` shows the `repr` of its key, and several arguments theirs."""
    if kind == "KeyError" or reason.startswith("("):
        try:
            found = ast.literal_eval(reason)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return (reason,)
        if kind == "KeyError":
            return (found,)
        if isinstance(found, tuple) and len(found) > 1:
            return found
    return (reason,) if reason else ()


def _raised(kind: type[BaseException], arguments: tuple[object, ...]) -> BaseException:
    """Return an exception without a call of its `__init__`, which may take other arguments."""
    found = kind.__new__(kind, *arguments)
    found.args = arguments
    if type(found).__str__ in (BaseException.__str__, KeyError.__str__) or str(found) == ": ".join(map(str, arguments)):
        return found
    # The class builds its message from attributes, and the stored message cannot restore them.
    plain = create_exception_cls(kind.__name__, kind.__module__)
    return plain(*arguments)  # type: ignore[no-any-return]
