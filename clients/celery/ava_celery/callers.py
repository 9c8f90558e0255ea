"""Send the calls of an application's tasks to AVA Jobs: `install(app)` in the project's own `celery.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from functools import wraps
from typing import Any

from celery import Celery
from celery.canvas import Signature, _chain, _chord, chunks, group
from celery.result import AsyncResult, ResultBase
from celery.utils import uuid
from kombu.exceptions import OperationalError

from ava.client import ApiUnavailable
from ava.handler import configured_client
from ava.handler.env import Env, current_env
from ava.handler.errors import WaitInTask
from ava_celery import canvas
from ava_celery.backend import OUTBOX, UNSENT, AvaBackend, AvaControl
from ava_celery.entries import TASK_ID, Call, as_list, call_of

#: Returns the trigger of the outbox in the application's transaction, which returns a row's id; None outside of one.
FindOutbox = Callable[[], Callable[..., str] | None]
#: Max jobs per bulk.
_MAX_JOBS = 1000
#: Options that a child of a handler has too.
_OF_CHILDREN = frozenset({"priority", "name", "tags"})
#: The calls in a block of `together`, with their results.
_collected: ContextVar[list[tuple[Call, AsyncResult]] | None] = ContextVar("collected", default=None)


@contextmanager
def together() -> Iterator[None]:
    """See `ava_celery.together`."""
    collected: list[tuple[Call, AsyncResult]] = []
    token = _collected.set(collected)
    try:
        yield
    finally:
        _collected.reset(token)
    for first in range(0, len(collected), _MAX_JOBS):
        calls, results = zip(*collected[first : first + _MAX_JOBS], strict=True)
        entries = _entries(calls)
        if any(call.task_id for call in calls):
            for entry, call in zip(entries, calls, strict=True):
                entry["idempotency_key"] = call.task_id or uuid()
        try:
            jobs = _call("trigger_many", entries)
        except Exception as error:
            error.add_note(f"jobs[0] is call {first} of the block; calls before it are sent.")
            raise
        for call, result, job in zip(calls, results, jobs, strict=True):
            result.id = call.task_id or job.id


class Callers:
    """The calls of one application."""

    def __init__(self, app: Celery, only: Sequence[str], outbox: FindOutbox | None) -> None:
        self._app, self._only = app, only
        self._outbox = outbox or _django_outbox
        self._send_to_celery, of_celery = app.send_task, app._get_backend
        app.send_task = self.send_task
        # Lazy, because the application may not be configured yet.
        app._get_backend = lambda: AvaBackend(app, inner=of_celery())
        app.control_cls = AvaControl
        app.__dict__.pop("control", None)
        app._backend_cache = None
        app.ava_callers = self
        for kind in (_chain, _chord, group, chunks):
            _dispatch(kind)
        _dispatch_on_commit()

    def includes(self, name: str) -> bool:
        """Return True if calls of a task become jobs."""
        return not self._only or any(fnmatchcase(name, pattern) for pattern in self._only)

    def send_task(
        self, name: str, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Replace `app.send_task`, which `delay`, `apply_async` and signatures call too."""
        called = options.get("route_name") or name
        if not self.includes(called):
            return self._send_to_celery(name, args, kwargs, **options)
        options = self._complete(name, options)
        if options.get("link") or options.get("chain") or options.get("chord"):
            return self._send_graph(name, args or (), kwargs or {}, options)
        call = call_of(self._app, name, args or (), kwargs or {}, options)
        collected = _collected.get()
        (result_id,) = self._send([call], is_collected=collected is not None)
        result = (options.get("result_cls") or self._app.AsyncResult)(result_id)
        if collected is not None and result_id == UNSENT:
            collected.append((call, result))
        result.ignored = options.get("ignore_result")
        self._add_trail(result, options)
        return result

    def apply_canvas(
        self, given: Signature, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> ResultBase:
        """Trigger the tasks of a canvas as one graph, and return its result."""
        graph = canvas.Graph(self._app, self.includes)
        named = {key: value for key, value in options.items() if value is not None}
        target = given.group() if isinstance(given, chunks) else given.clone()
        for key in ("link", "link_error"):
            for each in as_list(named.pop(key, None)):
                getattr(target, key)(each)
        if (task_id := named.pop("task_id", None)) is not None:
            target.set(task_id=task_id)
        if isinstance(target, _chord) and (body := dict(kwargs).get("body")) is not None:
            target.body = body
        kwargs = {key: value for key, value in kwargs.items() if key != "body"} if kwargs else {}
        placed = graph.add(target, () if target.immutable else args, kwargs, _of_call(named))
        result = placed.result(self._send(graph.calls), None)
        self._add_trail(result, options)
        return result

    def _send_graph(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> ResultBase:
        """Trigger a task with the tasks that follow it."""
        own = {key: value for key, value in options.items() if key not in ("chain", "chord")}
        given = Signature(name, args=tuple(args), kwargs=dict(kwargs), options=own, app=self._app)
        steps = [given, *reversed(options.get("chain") or ())]
        graph = canvas.Graph(self._app, self.includes)
        placed = graph.add(_chain(steps, app=self._app) if len(steps) > 1 else given, (), {}, {})
        ids = self._send(graph.calls)
        result = self._app.AsyncResult(ids[0]) if len(steps) > 1 else placed.result(ids, None)
        self._add_trail(result, options)
        return result

    # Sending -------------------------------------------------------------------------------------------------------

    def _send(self, calls: Sequence[Call], *, is_collected: bool = False) -> list[str]:
        """Trigger jobs, and return the ids of their results. Jobs with edges are one graph in one request.

        `is_collected`: return `UNSENT` for calls that would be requests.
        """
        if (env := _env()) is not None and all(_is_child(call) for call in calls):
            return [_start_child(env, call) for call in calls]
        if len(calls) == 1:
            calls[0].options.pop("name", None)
        has_edges = any("after" in call.options for call in calls)
        if (ids := self._write_outbox(calls, has_edges=has_edges)) is not None:
            return ids
        if has_edges and len(calls) > _MAX_JOBS:
            raise ValueError(f"the canvas has {len(calls)} tasks; a graph has at most {_MAX_JOBS}: use task.chunks")
        return [UNSENT] * len(calls) if is_collected else self._trigger(calls)

    def _trigger(self, calls: Sequence[Call]) -> list[str]:
        if len(calls) == 1:
            (call,) = calls
            job = _call("trigger", call.worker_id, call.input, idempotency_key=call.task_id, **call.options)
            return [call.task_id or job.id]
        ids: list[str] = []
        for first in range(0, len(calls), _MAX_JOBS):
            part = calls[first : first + _MAX_JOBS]
            jobs = _call("trigger_many", _entries(part), idempotency_key=part[-1].task_id)
            ids += [call.task_id or job.id for call, job in zip(part, jobs, strict=True)]
        return ids

    def _write_outbox(self, calls: Sequence[Call], *, has_edges: bool) -> list[str] | None:
        """Write calls into the outbox. Returns None outside of a transaction, and without an outbox."""
        if _env() is not None or (trigger := self._outbox()) is None:
            return None
        if has_edges:
            raise ValueError("the outbox sends single tasks; apply this canvas once the transaction has committed")
        ids = []
        for call in calls:
            options = {name: value for name, value in call.options.items() if name != "name"}
            row_id = trigger(call.worker_id, call.input, **options)
            ids.append(call.task_id or f"{OUTBOX}{row_id}")
        return ids

    def _complete(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a call, with those that its task declares."""
        if options.get("task_type") is None and (task := self._app._tasks.get(name)) is not None:
            declared = task._get_exec_options() or {}
            options = {**{key: value for key, value in declared.items() if value is not None}, **options}
        return options

    def _add_trail(self, result: ResultBase, options: Mapping[str, Any]) -> None:
        parent = self._app.current_worker_task if options.get("add_to_parent", True) else None
        if parent is not None:
            parent.add_trail(result)


def _call(method: str, *args: Any, **options: Any) -> Any:
    """Call the API. Raises what Celery raises for an unreachable broker."""
    try:
        return configured_client.call(method, *args, **options)
    except ApiUnavailable as error:
        raise OperationalError(str(error)) from error


def _entries(calls: Sequence[Call]) -> list[dict[str, Any]]:
    from ava.client.jobs import Jobs

    return [Jobs.entry(call.worker_id, call.input, **call.options) for call in calls]


def _of_call(options: Mapping[str, Any]) -> dict[str, Any]:
    left_out = ("producer", "connection", "publisher", "router", "add_to_parent", "result_cls", "chord", "chain")
    return {key: value for key, value in options.items() if key not in left_out}


# In a handler --------------------------------------------------------------------------------------------------------


class _Children:
    """The number of children that the current run has created, which names them."""

    env: Env | None = None
    count = 0


def _env() -> Env | None:
    """Return the environment of the handler that calls; None outside of a handler's own thread."""
    try:
        return current_env()
    except WaitInTask:
        return None


def _is_child(call: Call) -> bool:
    return call.options.keys() <= _OF_CHILDREN and TASK_ID not in (call.options.get("tags") or {})


def _start_child(env: Env, call: Call) -> str:
    """Create a detached child, named by its position, so that a repeated run of the attempt finds it again."""
    if _Children.env is not env:
        _Children.env, _Children.count = env, 0
    _Children.count += 1
    key = f"{env.attempt}.{_Children.count}.{call.worker_id}"
    child = env.trigger(call.worker_id, call.input, key=key, priority=call.options.get("priority"), detached=True)
    return str(child.id)


# Celery's classes ----------------------------------------------------------------------------------------------------


def _dispatch(kind: type[Signature]) -> None:
    """Send the canvases of installed applications to AVA Jobs; the others to Celery, as before."""
    own = kind.apply_async
    if hasattr(own, "__wrapped__"):
        return

    @wraps(own)
    def apply_async(self: Signature, args: Any = None, kwargs: Any = None, *more: Any, **options: Any) -> Any:
        callers = None if more else _callers_of(self, kwargs or {})
        if callers is None:
            return own(self, args, kwargs, *more, **options)
        return callers.apply_canvas(self, args or (), kwargs or {}, options)

    kind.apply_async = apply_async


def _callers_of(given: Signature, kwargs: Mapping[str, Any]) -> Callers | None:
    """Return the calls that a canvas belongs to; None if Celery applies it."""
    if isinstance(given, _chord) and (body := kwargs.get("body")) is not None:
        given = given.clone()
        given.body = body
    app = given._get_app(given.body) if isinstance(given, _chord) else given.app
    callers: Callers | None = getattr(app, "ava_callers", None)
    if callers is None or app.conf.task_always_eager:
        return None
    names = canvas.task_names(given, app)
    return callers if any(map(callers.includes, names)) else None


def _dispatch_on_commit() -> None:
    """Write calls on commit into the outbox at once, because it becomes visible with the commit."""
    try:
        from celery.contrib.django.task import DjangoTask
    except ImportError:
        return
    own = DjangoTask.apply_async_on_commit
    if hasattr(own, "__wrapped__"):
        return

    @wraps(own)
    def apply_async_on_commit(self: Any, *args: Any, **options: Any) -> None:
        callers: Callers | None = getattr(self.app, "ava_callers", None)
        if callers is None or not callers.includes(self.name) or not _has_django_outbox():
            own(self, *args, **options)
        else:
            self.apply_async(*args, **options)

    DjangoTask.apply_async_on_commit = apply_async_on_commit
    DjangoTask.delay_on_commit = lambda self, *args, **kwargs: self.apply_async_on_commit(args, kwargs)


def _has_django_outbox() -> bool:
    from django.apps import apps  # type: ignore[import-not-found]

    return bool(apps.ready and apps.is_installed("ava_django"))


def _django_outbox() -> Callable[..., str] | None:
    """Return the trigger of the outbox of `ava_django`; None outside of a transaction, and without Django."""
    if "django.db" not in sys.modules or not _has_django_outbox():
        return None
    from ava_django.models import OutboxJob  # type: ignore[import-not-found]
    from django.db import transaction  # type: ignore[import-not-found]

    if not transaction.get_connection().in_atomic_block:
        return None
    trigger: Callable[..., str] = OutboxJob.objects.trigger
    return trigger
