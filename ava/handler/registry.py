"""The handlers of this process, declared with `@worker` in the handler modules that the settings name."""

from __future__ import annotations

import importlib
import inspect
import re
import traceback
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any, Concatenate, overload

from ava.domain import ids
from ava.domain.jobs.messages import CONCURRENT_QUEUE, DEFAULT_QUEUE
from ava.domain.jobs.retry import Retry
from ava.domain.worker import DeclaredSchedule, McpUse, OnWorkerLost, WorkerSpec
from ava.errors import HandlerError, WorkerConflict
from ava.handler import option_checks, retry_rules
from ava.handler.input_types import declared_types, schema_json
from ava.handler.option_checks import check, refuse
from ava.handler.retry_rules import USUAL, ErrorTypes, RetryRules
from ava.handler.tasks import Declare, Input, Output, Rest, Task


@dataclass(frozen=True, kw_only=True)
class Handler:
    """A Python function that runs jobs, and its worker's definition."""

    spec: WorkerSpec
    function: Callable[..., Any]
    is_async: bool
    #: Whether the function takes `env` in addition to `input`.
    takes_env: bool
    #: None: the function gets the payload.
    parse: Callable[[dict[str, Any]], Any] | None = None
    retries: RetryRules = USUAL
    #: A warning if its parameters are probably not `input` and `env`.
    doubt: str | None = None

    @property
    def slug(self) -> str:
        """Return the worker's id without its prefix."""
        return self.spec.id.removeprefix("wkr_")


_handlers: dict[str, Handler] = {}
#: The handler module, as in the settings, that declared a worker.
_modules: dict[str, str] = {}


@overload
def worker(
    function: Callable[Concatenate[Input, Rest], Coroutine[Any, Any, Output]], /
) -> Task[Input, Rest, Coroutine[Any, Any, Output], Output]: ...
@overload
def worker(function: Callable[Concatenate[Input, Rest], Output], /) -> Task[Input, Rest, Output, Output]: ...


@overload
def worker(
    slug: str | None = None,
    *,
    name: str | None = ...,
    description: str = ...,
    timeout_seconds: float = ...,
    max_retries: int | None = ...,
    retry: Retry | None = ...,
    retry_on: ErrorTypes | None = ...,
    give_up_on: ErrorTypes | None = ...,
    cancel_grace_seconds: float = ...,
    queue: str | None = ...,
    tenants: Iterable[str] | None = ...,
    on_worker_lost: str = ...,
    capture_subprocesses: bool = ...,
    share_ends: bool = ...,
    schedule: str | None = ...,
    timezone: str | None = ...,
    schedule_tenant: str | None = ...,
    max_running: int | None = ...,
    max_running_per: str | None = ...,
    rate: str | None = ...,
    rate_per: str | None = ...,
    input_schema: Any = ...,
    retention_days: float | None = ...,
    expires_in_seconds: int | None = ...,
    deadline_seconds: int | None = ...,
    mcp: str | None = ...,
    max_memory_mb: int | None = ...,
    concurrent: bool = ...,
    approval: Mapping[str, Any] | None = ...,
) -> Declare: ...


def worker(  # noqa: PLR0913 - authors name the options that they need
    slug: str | Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    description: str = "",
    timeout_seconds: float = 300,
    max_retries: int | None = None,
    retry: Retry | None = None,
    retry_on: ErrorTypes | None = None,
    give_up_on: ErrorTypes | None = None,
    cancel_grace_seconds: float = 10,
    queue: str | None = None,
    tenants: Iterable[str] | None = None,
    on_worker_lost: str = "requeue",
    capture_subprocesses: bool = False,
    share_ends: bool = True,
    schedule: str | None = None,
    timezone: str | None = None,
    schedule_tenant: str | None = None,
    max_running: int | None = None,
    max_running_per: str | None = None,
    rate: str | None = None,
    rate_per: str | None = None,
    input_schema: Any = None,
    retention_days: float | None = None,
    expires_in_seconds: int | None = None,
    deadline_seconds: int | None = None,
    mcp: str | None = None,
    max_memory_mb: int | None = None,
    concurrent: bool = False,
    approval: Mapping[str, Any] | None = None,
    **unknown: Any,
) -> Any:
    """Declare a function as the handler of the worker `wkr_<slug>`; without a slug, the function's name is the slug.

    Return the task, which is called like the function, and triggers jobs: `task.trigger(input)`.

    Use it with options, `@worker("greet", max_retries=2)`, or without parentheses, `@worker`. The function takes
    `input` (a dict), or `input` and `env` (`ava.Env`), may be `async def`, and returns a JSON value.

    - `timeout_seconds`: at most 3600.
    - `max_retries`: 0 to 25 further attempts after an exception; default 0.
    - `retry`: an `ava.Retry` instead of `max_retries`, with delays.
    - `retry_on`, `give_up_on`: the exception classes that are retried (default all), and those that are never.
    - `cancel_grace_seconds`: the time to clean up after a requested stop; at most 600.
    - `queue`: the Celery queue of its jobs; default `default`, or `concurrent` for a concurrent worker.
    - `tenants`: the tenants that may run it; None means all.
    - `on_worker_lost`: `requeue` or `fail`.
    - `capture_subprocesses`: log the standard output and error of its subprocesses.
    - `share_ends`: write the ends of runs below 20 ms together, at most 25 ms late.
    - `schedule`: a cron pattern in `timezone` (an IANA name) that creates jobs of the tenant `schedule_tenant`.
    - `max_running`: max running jobs, in total or per `max_running_per`: "tenant" or a path ("input.account.id").
    - `rate`: max starts per period, such as "100/minute", in total or per `rate_per`, as above.
    - `input_schema`: validates each input: a JSON Schema (2020-12) as a dict, a marshmallow schema, a dataclass, a
      pydantic model, or a union of these. The default is the annotation of `input` unless it is a mapping; then the
      function gets a value of that type.
    - `retention_days`: retention of its final jobs; default: the tenant's or the installation's.
    - `expires_in_seconds`: until an unstarted job is cancelled; its trigger or schedule may override it; max 366 days.
    - `deadline_seconds`: seconds from creation, or from `scheduled_at`, until a job fails unless it is final, including
      waits and retries, unless its trigger overrides them; at most as many.
    - `mcp`: its use as an MCP tool: `answer` (a call waits for the end), `task` (a call returns a task) or `off`;
      default AVA_MCP_WORKERS.
    - `max_memory_mb`: max MiB of a run with all its subprocesses; above, the run fails as `MemoryExceeded`.
    - `concurrent`: runs of this `async def` may share a process and its event loop, on nodes with slots, and with them
      everything per process: directory, environment, signals, globals.
    - `approval`: the decision that a job needs before its first start: `{"title": "Delete the account?"}`, with the
      fields of `env.approve`, and in `when` a pattern that the input must match.

    Raise `HandlerError` for an invalid declaration, and `WorkerConflict` if another function has the slug.
    """

    for option in unknown:
        raise TypeError(option_checks.describe_unknown(option, worker.__kwdefaults__ or ()))
    if slug is not None and not isinstance(slug, str):
        return worker()(slug)

    def declare(given: Callable[..., Any]) -> Task[Any, Any, Any, Any]:
        # Two workers may have the same function.
        function = given.handler.function if isinstance(given, Task) else given
        own_slug = str(getattr(function, "__name__", "")) if slug is None else slug
        described, annotated = declared_types(own_slug, function, input_schema)
        most, rules = retry_rules.read(
            own_slug, max_retries=max_retries, retry=retry, retry_on=retry_on, give_up_on=give_up_on
        )
        spec = WorkerSpec(
            id=f"wkr_{own_slug}",
            name=name or own_slug,
            description=description or inspect.getdoc(function) or "",
            timeout_seconds=timeout_seconds,
            max_retries=most,
            cancel_grace_seconds=cancel_grace_seconds,
            queue=(CONCURRENT_QUEUE if concurrent else DEFAULT_QUEUE) if queue is None else queue,
            tenants=None if tenants is None else tuple(tenants),
            on_worker_lost=OnWorkerLost(on_worker_lost if on_worker_lost in _ON_WORKER_LOST else "requeue"),
            captures_subprocesses=capture_subprocesses,
            shares_ends=share_ends,
            schedule=None if schedule is None else DeclaredSchedule(schedule, timezone or "", schedule_tenant or ""),
            limits=option_checks.read_limits(own_slug, max_running, max_running_per, rate, rate_per),
            input_schema_json=schema_json(own_slug, described, annotated),
            retention_days=retention_days,
            expires_in_seconds=expires_in_seconds,
            deadline_seconds=deadline_seconds,
            mcp=McpUse(mcp) if mcp in _MCP_USES else None,
            max_memory_mb=max_memory_mb,
            is_concurrent=bool(concurrent),
            approval_json=option_checks.read_approval(own_slug, approval),
        )
        check(own_slug, spec, on_worker_lost)
        refuse(own_slug, [] if mcp is None or mcp in _MCP_USES else [f"mcp must be one of {', '.join(_MCP_USES)}"])
        refuse(own_slug, _wrong_if_concurrent(spec, function))
        _check_schedule(own_slug, spec, timezone, schedule_tenant)
        parse = None if annotated is None else annotated.parse
        handler = replace(_handler(spec, function), parse=parse, retries=rules)
        register(handler)
        return Task(handler)

    return declare


def _wrong_if_concurrent(spec: WorkerSpec, function: Callable[..., Any]) -> list[str]:
    """Return the options that a concurrent worker cannot have, because its runs share a process."""
    if not spec.is_concurrent:
        return []
    cases = (
        (not inspect.iscoroutinefunction(function), "concurrent=True needs an async def"),
        (spec.max_memory_mb is not None, "max_memory_mb needs a separate process per run, not concurrent=True"),
        (spec.captures_subprocesses, "capture_subprocesses needs a separate process per run, not concurrent=True"),
    )
    return [reason for is_wrong, reason in cases if is_wrong]


_ON_WORKER_LOST = tuple(OnWorkerLost)
_MCP_USES = tuple(McpUse)


def _check_schedule(slug: str, spec: WorkerSpec, timezone: str | None, tenant: str | None) -> None:
    if spec.schedule is None:
        refuse(slug, ["timezone and schedule_tenant need a schedule"] if timezone or tenant else [])
        return
    # Imported lazily: handler modules without schedules need no time zones.
    from ava.domain.schedules.schedule import check_cron, check_timezone

    wrong = []
    for name, accept, value in (("schedule", check_cron, spec.schedule.cron), ("timezone", check_timezone, timezone)):
        try:
            accept(value if isinstance(value, str) else "")
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    if not (isinstance(tenant, str) and ids.is_client_id("ten", tenant)):
        wrong.append("schedule_tenant must name the tenant of its jobs, such as ten_01hxyz")
    elif spec.tenants is not None and tenant not in spec.tenants:
        wrong.append(f"schedule_tenant {tenant} is not among the tenants that may run it")
    if spec.input_schema_json is not None:
        from ava.domain.input_schema import InputSchema

        if InputSchema(spec.input_schema_json).faults("{}"):
            wrong.append("a declared schedule sends an empty input, which input_schema does not accept")
    refuse(slug, wrong)


def _handler(spec: WorkerSpec, function: Callable[..., Any]) -> Handler:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise HandlerError(f"Worker {spec.id}: the handler must be a function.") from None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if not (positional or takes_any) or len(required) > 2 or any(p not in positional for p in required):
        raise HandlerError(f"Worker {spec.id}: the handler must take one parameter, input, or two, input and env.")
    return Handler(
        spec=spec,
        function=function,
        is_async=inspect.iscoroutinefunction(function),
        takes_env=takes_any or len(positional) > 1,
        doubt=_doubt(spec, function, positional[:2]),
    )


def _doubt(spec: WorkerSpec, function: Callable[..., Any], parameters: list[inspect.Parameter]) -> str | None:
    """Return a warning if the first parameter is named `env`, or the second is probably not `env`."""
    names = [parameter.name for parameter in parameters]
    if names and (names[0] == "env" or (len(names) > 1 and not _is_env(parameters[1]))):
        call = f"{getattr(function, '__name__', 'the handler')}({', '.join(names)})"
        gets = "the whole input" if len(names) == 1 else f"the whole input, and as {names[1]} the env of the run"
        return (
            f"Worker {spec.id}: {call} gets as {names[0]} {gets}; name the parameters input and env, or annotate the "
            "second one with Env"
        )
    return None


def _is_env(parameter: inspect.Parameter) -> bool:
    # The annotation may be a string, or optional.
    return parameter.name == "env" or "Env" in re.findall(r"\w+", inspect.formatannotation(parameter.annotation))


def register(handler: Handler) -> None:
    """Add a handler. Raise `WorkerConflict` if another function has its slug."""
    known = _handlers.get(handler.spec.id)
    if known is not None and _source_line(known.function) != _source_line(handler.function):
        raise WorkerConflict(
            f"Two handlers claim {handler.spec.id}: {_source_line(known.function)} and "
            f"{_source_line(handler.function)}; give one of the handlers another slug."
        )
    _handlers[handler.spec.id] = handler


def concurrent_queues() -> frozenset[str]:
    """Return the queues of concurrent workers. Raise `HandlerError` if other workers use them, too."""
    concurrent: dict[str, str] = {}
    others: dict[str, str] = {}
    for handler in _handlers.values():
        (concurrent if handler.spec.is_concurrent else others).setdefault(handler.spec.queue, handler.slug)
    if mixed := min(concurrent.keys() & others.keys(), default=None):
        raise HandlerError(
            f"Queue {mixed!r}: the worker {concurrent[mixed]!r} is concurrent, but {others[mixed]!r} is not; set "
            "another queue for one worker."
        )
    return frozenset(concurrent)


def _source_line(function: Callable[..., Any]) -> str:
    line = getattr(getattr(inspect.unwrap(function), "__code__", None), "co_firstlineno", 0)
    return f"{function.__module__}.{function.__qualname__} (line {line})"


def load(modules: Iterable[str]) -> None:
    """Import handler modules.

    Raise `HandlerError` if an import fails, and `WorkerConflict` if two handlers claim one slug.
    """
    for module in modules:
        known = set(_handlers)
        try:
            importlib.import_module(module)
        except (HandlerError, WorkerConflict):
            raise
        except Exception as error:
            raise HandlerError(f"AVA_HANDLERS: the module {module!r} cannot be imported: {_reason(error)}") from error
        _modules.update(dict.fromkeys(_handlers.keys() - known, module))


def celery_tasks(name: str) -> Any:
    """Return the object of an entry point of the distribution ava-celery. Raise `HandlerError` without it."""
    try:
        for found in entry_points(group="ava.celery_tasks", name=name):
            return found.load()
    except ImportError as error:
        raise HandlerError(f"Install ava-celery in the version of ava-jobs: {error}") from error
    raise HandlerError("AVA_CELERY_APPS and `ava celery` need a package: pip install ava-celery")


def _reason(error: Exception) -> str:
    """Return the file and line of the error, and the error."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    own = (__file__, importlib.__file__, "<frozen")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(own)]
    position = f"{frames[-1].filename}, line {frames[-1].lineno}: " if frames else ""
    return f"{position}{type(error).__name__}: {error}"


def declared_by(module: str) -> list[str]:
    """Return the ids of the workers that a module, or a module in its package, declares or imports."""
    return sorted(
        each.spec.id
        for each in _handlers.values()
        if f"{each.function.__module__}.".startswith(f"{module}.") or _modules.get(each.spec.id) == module
    )


def handlers() -> Mapping[str, Handler]:
    return _handlers


def find(worker_id: str) -> Handler | None:
    """Return a worker's handler; None if this process has none."""
    return _handlers.get(worker_id)


def module_of(worker_id: str) -> str:
    """Return the handler module that declares a worker, as in the settings."""
    return _modules.get(worker_id) or _handlers[worker_id].function.__module__
