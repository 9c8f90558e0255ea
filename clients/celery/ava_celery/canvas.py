"""Convert a canvas into the entries of one bulk: each task a job, each dependency an edge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from celery import Celery
from celery.canvas import Signature, _chain, _chord, _maybe_group, chunks, group, maybe_signature
from celery.exceptions import ImproperlyConfigured
from celery.result import GroupResult, ResultBase
from celery.utils import uuid

from ava_celery.entries import GROUP_ID, Call, as_list, call_of

#: The signatures of several tasks.
COMPOSED = (_chain, _chord, group, chunks)
#: The tasks that call another one for each of their items.
_OVER_ITEMS = ("celery.map", "celery.starmap", "celery.chunks")
#: Options of a canvas for its first tasks only.
_OF_FIRST = ("countdown", "eta")
#: Options of a canvas that its tasks do not inherit.
_OF_CANVAS = ("link", "link_error", "task_id", GROUP_ID, "chord", "root_id", "parent_id")


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A signature in the graph. The next signature gets its value when its last tasks have completed."""

    #: JSON with the outputs of its last tasks, and the names of these.
    value: Any
    names: tuple[str, ...]
    #: Returns its result, once the ids of the jobs are known; `parent` is the result before it.
    result: Callable[[Sequence[str], ResultBase | None], ResultBase]


@dataclass(kw_only=True)
class _Before:
    """The part of the graph before a signature, and the options of the canvas around it."""

    #: The values that precede its own arguments, and keyword arguments of the call.
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    #: The required outcome of the part before it; None: `completed`.
    when: str | None = None

    def after(self, placed: Placed) -> _Before:
        """Return the place after a signature of the same canvas."""
        later = {name: value for name, value in self.options.items() if name not in _OF_FIRST}
        return _Before(args=(placed.value,), names=placed.names, options=later)


class Graph:
    """The entries of a canvas."""

    def __init__(self, app: Celery, includes: Callable[[str], bool]) -> None:
        self._app, self._includes = app, includes
        self.calls: list[Call] = []

    def add(
        self, given: Signature, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Placed:
        """Add a signature, applied with these arguments and options."""
        return self._place(given, _Before(args=tuple(args), kwargs=kwargs, options=options))

    @property
    def has_edges(self) -> bool:
        return any("after" in call.options for call in self.calls)

    def _place(self, given: Any, before: _Before) -> Placed:
        found = maybe_signature(given, app=self._app)
        if found.task == "celery.chunks":
            found = chunks.from_dict(found, app=self._app).group()
        if isinstance(found, COMPOSED):
            before = replace(before, options={**_inherited(found.options), **before.options})
        if isinstance(found, _chain):
            return self._chain(found, before)
        if isinstance(found, _chord):
            return self._chord(found, before)
        if isinstance(found, group):
            return self._group(found, before)
        return self._task(found, before)

    def _chain(self, found: _chain, before: _Before) -> Placed:
        steps = [_unrolled(maybe_signature(step, app=self._app)) for step in found.tasks]
        steps = [step for step in steps if not _is_empty(step)] or steps[-1:]
        if not steps:
            raise ValueError("a chain without tasks cannot be applied")
        errbacks = as_list(found.options.get("link_error"))
        placed: list[Placed] = []
        for number, step in enumerate(steps):
            own = [*as_list(found.options.get("link"))] if number == len(steps) - 1 else []
            linked = _with(step, link=own, link_error=errbacks)
            if number == len(steps) - 1 and (task_id := found.options.get("task_id")) is not None:
                linked = linked.clone().set(task_id=task_id)
            placed.append(self._place(linked, before))
            before = before.after(placed[-1])

        def result(ids: Sequence[str], parent: ResultBase | None) -> ResultBase:
            for each in placed:
                parent = each.result(ids, parent)
            assert parent is not None
            return parent

        return replace(placed[-1], result=result)

    def _chord(self, found: _chord, before: _Before) -> Placed:
        header = self._group(group(_maybe_group(found.kwargs["header"], self._app), app=self._app), before)
        body = _with(
            found.body, link=as_list(found.options.get("link")), link_error=as_list(found.options.get("link_error"))
        )
        if (task_id := found.options.get("task_id")) is not None:
            body = body.clone().set(task_id=task_id)
        last = self._place(body, before.after(header))
        for errback in as_list(body.options.get("link_error")):
            # If the header fails, the body is cancelled and cannot call its error callbacks. Immutable ones become jobs
            # of the graph; others need the body's request. If a task before the header fails, it calls its own.
            if not before.names and maybe_signature(errback, app=self._app).immutable:
                self._place(errback, _Before(names=header.names, when="failed"))
        return replace(last, result=lambda ids, parent: last.result(ids, header.result(ids, parent)))

    def _group(self, found: group, before: _Before) -> Placed:
        group_id = str(found.options.get("task_id") or uuid())
        within = replace(before, options={**before.options, GROUP_ID: group_id})
        members = [self._place(member, within) for member in self._flat(found)]

        def result(ids: Sequence[str], parent: ResultBase | None) -> ResultBase:
            results = [member.result(ids, None) for member in members]
            if len(results) == 1 and isinstance(results[0], GroupResult):
                # As in Celery: a group with one member, a chain that ends in a group, returns that group's result.
                return results[0]
            return self._app.GroupResult(group_id, results, parent=parent)

        names = tuple(name for member in members for name in member.names)
        return Placed(value=[member.value for member in members], names=names, result=result)

    def _flat(self, found: group) -> Iterator[Signature]:
        """Yield the members of a group, and of the groups among them."""
        for part in _maybe_group(found, self._app):
            member = maybe_signature(part, app=self._app)
            if isinstance(member, group):
                yield from self._flat(member)
            elif not _is_empty(member):
                yield member

    def _task(self, found: Signature, before: _Before) -> Placed:
        called = task_name(found)
        if not self._includes(called):
            raise ImproperlyConfigured(
                f"The canvas has {called}, which stays on Celery (install's `only`), and tasks on AVA Jobs: neither "
                "side can wait for the other's tasks. Move all tasks of a canvas together."
            )
        options = {**_declared(self._app, found), **before.options, **_own(found)}
        args = list(found.args) if found.immutable else [*before.args, *found.args]
        kwargs = dict(found.kwargs) if found.immutable else {**found.kwargs, **before.kwargs}
        if found.task in _OVER_ITEMS:
            kwargs["it"] = list(kwargs["it"])
        call = call_of(self._app, found.task, args, kwargs, options)
        index, name = len(self.calls), f"t{len(self.calls)}"
        call.options["name"] = name
        if before.names:
            call.options["after"] = list(before.names)
        if before.when is not None:
            call.options["when"] = before.when
        self.calls.append(call)
        placed = Placed(
            value={"$output": name},
            names=(name,),
            result=lambda ids, parent: self._app.AsyncResult(ids[index], parent=parent),
        )
        for callback in as_list(found.options.get("link")):
            self._place(callback, _Before(args=(placed.value,), names=placed.names))
        return placed


def task_name(given: Signature) -> str:
    """Return the name of the task that a signature calls, also through `map`, `starmap` and `chunks`."""
    # A clone of such a signature has the class `Signature`.
    if given.task in _OVER_ITEMS:
        inner = given.kwargs["task"]
        return str(inner["task"] if isinstance(inner, Mapping) else inner.name)
    return str(given.task)


def task_names(given: Any, app: Celery) -> set[str]:
    """Return the names of the tasks of a canvas, without links."""
    found = maybe_signature(given, app=app)
    parts: list[Any] = []
    if isinstance(found, _chord):
        parts = [*_maybe_group(found.kwargs["header"], app), found.body]
    elif isinstance(found, _chain | group):
        parts = list(found.tasks)
    else:
        return {task_name(found)}
    return set().union(*(task_names(part, app) for part in parts)) if parts else set()


def _declared(app: Celery, found: Signature) -> Mapping[str, Any]:
    """Return the options that the task declares."""
    task = app.tasks.get(found.task)
    options = {} if task is None else task._get_exec_options() or {}
    return {name: value for name, value in options.items() if value is not None}


def _own(found: Signature) -> Mapping[str, Any]:
    return {name: value for name, value in found.options.items() if value is not None and name != "link"}


def _inherited(options: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in options.items() if value is not None and name not in _OF_CANVAS}


def _unrolled(step: Signature) -> Signature:
    """Return the task of a group of one task, as in Celery's chains."""
    if isinstance(step, group) and len(parts := list(step.tasks)) == 1:
        return maybe_signature(parts[0], app=step.app)
    return step


def _is_empty(step: Signature) -> bool:
    """Return True for a group or chain without tasks, which Celery skips in a canvas."""
    return isinstance(step, group | _chain) and not list(step.tasks)


def _with(step: Signature, *, link: Sequence[Any], link_error: Sequence[Any]) -> Signature:
    """Return a copy of a signature with further callbacks, which a canvas passes on to its tasks."""
    if not (link or link_error):
        return step
    copy = step.clone()
    for callback in link:
        copy.link(callback)
    for errback in link_error:
        copy.link_error(errback)
    return copy
