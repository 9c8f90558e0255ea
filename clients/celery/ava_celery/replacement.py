"""Run the signature with which a task has replaced itself: as children, whose output becomes the job's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from celery import Celery
from celery.app.task import Task
from celery.canvas import Signature, _chain, _chord, _maybe_group, group, signature

from ava.domain.jobs.waits import JournalKind
from ava.handler.env import Env
from ava.handler.errors import ChildFailed, GiveUp
from ava_celery.entries import call_of
from ava_celery.exceptions import exception_of
from ava_celery.results import as_json

#: The name of the step that records the signature, and the prefix of the children's names.
_NAME = "replacement"
_COMPOSED = (_chain, _chord, group)
#: The options of a signature that a child does not have.
_LEFT_OUT = frozenset({"link", "link_error", "countdown", "eta"})


def is_recorded(env: Env) -> bool:
    """Return True if an earlier run of the job has replaced the task, so that its body must not run again."""
    return any(entry.kind is JournalKind.STEP and entry.name == _NAME for entry in env._calls.journal.entries)


def run(env: Env, app: Celery, task: Task, replace: Callable[[], Signature]) -> Any:
    """Record the replacement of a task, run it and return its output. Raises the error of a child as the task's own."""
    recorded: Mapping[str, Any] = env.step(_NAME, lambda: as_json(dict(replace())))
    try:
        found = signature(recorded, app=app)
        return _Replacement(env, app, found.options["replaced_task_nesting"]).output(found, (), _NAME)
    except ChildFailed as error:
        raise exception_of(error.child.error or f"ChildFailed: {error}", task) from error


class _Replacement:
    """The children of one job. Each is named after its position in the signature."""

    def __init__(self, env: Env, app: Celery, nesting: int) -> None:
        """`nesting`: the number of replacements that led to these children."""
        self._env, self._app, self._nesting = env, app, nesting

    def output(self, given: Signature, partial: tuple[Any, ...], name: str) -> Any:
        """Return the output of a signature; `partial` are the outputs that precede its own arguments."""
        if isinstance(given, _chain):
            for number, part in enumerate(given.tasks):
                partial = (self.output(signature(part, app=self._app), partial, f"{name}.{number}"),)
            return partial[0]
        if isinstance(given, _chord):
            results = self._outputs(_maybe_group(given.kwargs["header"], self._app), partial, name)
            return self.output(signature(given.body, app=self._app), (results,), f"{name}.body")
        if isinstance(given, group):
            return self._outputs(_maybe_group(given, self._app), partial, name)
        return self._env.wait(self._start(given, partial, name))[0]

    def _outputs(self, parts: Iterable[Any], partial: tuple[Any, ...], name: str) -> list[Any]:
        """Return the outputs of parts: single tasks run in parallel, others one after the other."""
        each = [(f"{name}.{number}", signature(part, app=self._app)) for number, part in enumerate(parts)]
        started = {key: self._start(part, partial, key) for key, part in each if not isinstance(part, _COMPOSED)}
        found = {key: self.output(part, partial, key) for key, part in each if key not in started}
        if started:
            found.update(zip(started, self._env.wait(*started.values()), strict=True))
        return [found[key] for key, _ in each]

    def _start(self, given: Signature, partial: tuple[Any, ...], name: str) -> Any:
        if unsupported := sorted(_LEFT_OUT & given.options.keys()):
            raise GiveUp(f"self.replace: {given.task} has {', '.join(unsupported)}, which a child does not support")
        args = list(given.args) if given.immutable else [*partial, *given.args]
        options = {option: value for option, value in given.options.items() if option != "task_id"}
        options["replaced_task_nesting"] = self._nesting
        call = call_of(self._app, given.task, args, given.kwargs, options)
        return self._env.trigger(call.worker_id, call.input, key=name, priority=call.options.get("priority"))
