"""Run the signature that replaces a task as children. Their output becomes the job's output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from celery import Celery
from celery.app.task import Context, Task
from celery.canvas import Signature, _chain, _chord, _maybe_group, group, signature
from kombu.utils.json import dumps

from ava.domain.jobs.waits import JournalKind
from ava.handler.env import Env
from ava.handler.errors import ChildFailed, GiveUp
from ava_celery.entries import as_list, call_of
from ava_celery.exceptions import exception_of
from ava_celery.results import decoded

#: The name of the step that records the signature, and the prefix of the children's names.
_NAME = "replacement"
_COMPOSED = (_chain, _chord, group)
#: The options of a signature that a child does not have.
_LEFT_OUT = frozenset({"countdown", "eta"})


def is_recorded(env: Env) -> bool:
    """Return True if an earlier run of the job has replaced the task, so that its body must not run again."""
    return any(entry.kind is JournalKind.STEP and entry.name == _NAME for entry in env._calls.journal.entries)


def run(env: Env, app: Celery, task: Task, replace: Callable[[], Signature]) -> Any:
    """Record the replacement of a task, run it and return its output. Raises the error of a child as the task's own."""
    recorded: Mapping[str, Any] = env.step(_NAME, lambda: json.loads(dumps(dict(replace()))))
    try:
        found = signature(decoded(recorded), app=app)
        return _Replacement(env, task, found.options["replaced_task_nesting"]).output(found, (), _NAME)
    except ChildFailed as error:
        raise exception_of(error.child.error or f"ChildFailed: {error}", task) from error


class _Replacement:
    """The children of one job. Each is named after its position in the signature."""

    def __init__(self, env: Env, task: Task, nesting: int) -> None:
        """`nesting`: the number of replacements that led to these children."""
        self._env, self._task, self._app, self._nesting = env, task, task.app, nesting

    def output(self, given: Signature, partial: tuple[Any, ...], name: str) -> Any:
        """Return the output of a signature; `partial` are the outputs that precede its own arguments."""
        if isinstance(given, _chain):
            with self._errbacks(given):
                value = self._chain(given, partial, name)
        elif isinstance(given, _chord):
            body = signature(given.body, app=self._app)
            with self._errbacks(body):
                results = self._outputs(_maybe_group(given.kwargs["header"], self._app), partial, name)
            value = self.output(body, (results,), f"{name}.body")
        elif isinstance(given, group):
            value = self._outputs(_maybe_group(given, self._app), partial, name)
        else:
            value = self._env.wait(self._start(given, partial, name))[0]
        self._follow(given, value, name)
        return value

    def _chain(self, given: Signature, partial: tuple[Any, ...], name: str) -> Any:
        for number, part in enumerate(given.tasks):
            partial = (self.output(signature(part, app=self._app), partial, f"{name}.{number}"),)
        return partial[0]

    def _outputs(self, parts: Iterable[Any], partial: tuple[Any, ...], name: str) -> list[Any]:
        """Return the outputs of parts: single tasks run in parallel, others one after the other."""
        each = [(f"{name}.{number}", signature(part, app=self._app)) for number, part in enumerate(parts)]
        started = {key: self._start(part, partial, key) for key, part in each if not isinstance(part, _COMPOSED)}
        found = {key: self.output(part, partial, key) for key, part in each if key not in started}
        if started:
            found.update(zip(started, self._env.wait(*started.values()), strict=True))
        for key, part in each:
            if key in started:
                self._follow(part, found[key], key)
        return [found[key] for key, _ in each]

    def _follow(self, given: Signature, value: Any, name: str) -> None:
        """Start the callbacks of a signature."""
        for number, callback in enumerate(as_list(given.options.get("link"))):
            self._start(signature(callback, app=self._app), (value,), f"{name}.link.{number}", detached=True)

    @contextmanager
    def _errbacks(self, given: Signature) -> Iterator[None]:
        """Call a signature's error callbacks if one of its tasks fails; a child calls its own in its run."""
        try:
            yield
        except ChildFailed as error:
            if errbacks := as_list(given.options.get("link_error")):
                request = Context(id=self._env.job["id"], errbacks=errbacks, delivery_info={})
                raised = exception_of(error.child.error, self._task)
                self._task.backend._call_task_errbacks(request, raised, None)
            raise

    def _start(self, given: Signature, partial: tuple[Any, ...], name: str, *, detached: bool = False) -> Any:
        if unsupported := sorted(_LEFT_OUT & given.options.keys()):
            raise GiveUp(f"self.replace: {given.task} has {', '.join(unsupported)}, which a child does not support")
        args = list(given.args) if given.immutable else [*partial, *given.args]
        options = {option: value for option, value in given.options.items() if option not in ("task_id", "link")}
        options["replaced_task_nesting"] = self._nesting
        call = call_of(self._app, given.task, args, given.kwargs, options)
        priority = call.options.get("priority")
        return self._env.trigger(call.worker_id, call.input, key=name, priority=priority, detached=detached)
