"""The handler's access to its job: configuration, secrets, log, progress and calls."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ava.domain.approval import DEFAULT_ROLES, DEFAULT_TIMEOUT_SECONDS, ApprovalRequest
from ava.domain.jobs.job import Job
from ava.domain.record import make_record
from ava.handler import acts
from ava.handler.acts import Steps
from ava.handler.call_arguments import read_children
from ava.handler.children import ChildJob, Outputs
from ava.handler.errors import WaitInTask
from ava.handler.journal_calls import Calls

if TYPE_CHECKING:
    from ava.handler.handles import AsyncHandle, Handle
    from ava.handler.tasks import Task


class Secrets(Mapping[str, str]):
    """Secrets by name; neither `repr` nor `str` shows them."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = dict(secrets)

    def __getitem__(self, name: str) -> str:
        return self._secrets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._secrets)

    def __len__(self) -> int:
        return len(self._secrets)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._secrets))})"


class Env(Mapping[str, str]):
    """The worker's configuration as a mapping, and the handler's access to its job.

    `env["KEY"]` is the first of the tenant's value, the platform's, and the environment variable
    `AVA_WORKER_<SLUG>_<KEY>`.
    """

    def __init__(
        self,
        *,
        config: Mapping[str, str],
        secrets: Mapping[str, str] | None = None,
        job: Job,
        log: logging.Logger,
        report: Callable[[float, str], None],
        is_cancelled: Callable[[], bool],
        calls: Callable[[], Calls],
        traceparent: str | None = None,
    ) -> None:
        self._config = config
        self._make_calls = calls
        #: The tenant's secrets for this worker by name. They are masked in the job's log, output and error.
        self.secrets = Secrets(secrets or {})
        self._report = report
        self._is_cancelled = is_cancelled
        #: Writes to the job's log.
        self.log = log
        self._job = job
        #: The W3C `traceparent`. A request with this header joins the job's trace; OpenTelemetry's instrumentation
        #: adds it itself. None without tracing.
        self.traceparent = traceparent
        #: The number of this attempt, from 1.
        self.attempt = job.attempt

    @cached_property
    def job(self) -> dict[str, Any]:
        """Return the job's record, as in the API."""
        return make_record(self._job)

    @cached_property
    def _calls(self) -> Calls:
        # Created lazily, because most handlers make no calls.
        return self._make_calls()

    @property
    def is_async(self) -> bool:
        """Return True in an `async` handler, where calls are awaited."""
        return self._calls.is_async

    @property
    def thread_id(self) -> int:
        return self._calls.thread_id

    @property
    def cancelled(self) -> bool:
        """Return True if the handler must stop because of a cancel, its timeout or a shutdown."""
        return self._is_cancelled()

    def progress(self, fraction: float, message: str = "") -> None:
        """Report progress from 0 to 1, with a short message. Raise ValueError for any other number."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"progress must be from 0 to 1, not {fraction!r}")
        self._report(float(fraction), str(message))

    def __getitem__(self, key: str) -> str:
        return self._config[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._config)

    def __len__(self) -> int:
        return len(self._config)

    # Workflow calls. In async handlers each of them is awaited. ------------------------------------------------------

    def trigger(
        self,
        worker_id: str | Task[Any, Any, Any, Any],
        input: Any = None,
        *,
        key: str | None = None,
        was: Sequence[str] = (),
        priority: int | None = None,
        detached: bool = False,
    ) -> Any:
        """Create a child job, a `ChildJob`. Its name in the journal is `key`, by default its worker's id.

        `input`: a mapping or a typed value. `was`: its earlier names. `detached`: it survives a cancel of this job.
        Raise `ChildRefused`, and `DuplicateName` for a name that this run has already used.
        """
        return self._do(
            "trigger",
            worker_id,
            self._calls.trigger(worker_id, input, key=key, was=was, priority=priority, detached=detached),
        )

    def trigger_many(
        self,
        worker_id: str | Task[Any, Any, Any, Any],
        inputs: Iterable[Any],
        *,
        key: str | None = None,
        was: Sequence[str] = (),
        priority: int | None = None,
        detached: bool = False,
    ) -> Any:
        """Create a child for each input. Return the list of them, without waiting; otherwise like `trigger`.

        Their names in the journal are `key.0`, `key.1` and so on.
        """
        return self._do(
            "trigger_many",
            worker_id,
            self._calls.trigger_many(worker_id, inputs, key=key, was=was, priority=priority, detached=detached),
        )

    def map(
        self,
        worker_id: str | Task[Any, Any, Any, Any],
        items: Iterable[Any],
        *,
        key: str | None = None,
        max_concurrency: int | None = None,
        return_exceptions: bool = False,
    ) -> Any:
        """Create a child for each item, its input, and wait for all. Return their outputs in the same order.

        At most `max_concurrency` children are unfinished at any time.
        """
        return self._do(
            "map",
            worker_id,
            self._calls.map(
                worker_id, items, key=key, max_concurrency=max_concurrency, return_exceptions=return_exceptions
            ),
        )

    def step(
        self,
        name: str,
        fn: Callable[..., Any],
        *args: Any,
        key: str | None = None,
        was: Sequence[str] = (),
        once: str = "at_least",
    ) -> Any:
        """Call `fn(*args)`, store its result, and return it; a re-entered handler gets the stored result.

        A crash between the effect and the journal repeats the call, with the same `step_key`. With `once="at_most"` it
        is not repeated: `StepInterrupted` is raised.
        """
        return self._do("step", name, self._calls.step(name, fn, *args, key=key, was=was, once=once))

    @property
    def step_key(self) -> str:
        """Return the idempotency key of the running step."""
        return self._calls.step_key

    def wait(
        self,
        *children: ChildJob | Handle[Any] | AsyncHandle[Any],
        timeout: float | None = None,
        key: str | None = None,
        return_exceptions: bool = False,
    ) -> Any:
        """Wait until children have ended. Return the sequence of their outputs, in the same order.

        Raise `ChildFailed` for the first that did not complete, and `WaitTimeout` after `timeout` seconds.
        """
        return self._do(
            "wait",
            None,
            self._calls.wait_for_all(
                read_children(children), timeout=timeout, key=key, return_exceptions=return_exceptions
            ),
        )

    def wait_any(
        self, *children: ChildJob | Handle[Any] | AsyncHandle[Any], timeout: float | None = None, key: str | None = None
    ) -> Any:
        """Wait until a child has ended, with any outcome, and return it."""
        return self._do("wait_any", None, self._calls.wait_for_any(read_children(children), timeout=timeout, key=key))

    def wait_event(
        self, type: str, match: Mapping[str, Any] | None = None, timeout: float | None = None, key: str | None = None
    ) -> Any:
        """Wait for an event. Return the record of the first one since the job's creation that matches.

        Events that another `wait_event` of the job has returned are skipped. `match` is a pattern, as in subscriptions.
        Its name in the journal is `key`, by default `type`. Raise `WaitTimeout` after `timeout` seconds.
        """
        return self._do("wait_event", type, self._calls.wait_for_event(type, match, timeout=timeout, key=key))

    def approve(  # noqa: PLR0913 - the contract names these arguments
        self,
        name: str,
        title: str,
        *,
        payload: Any = None,
        schema: Mapping[str, Any] | None = None,
        roles: Sequence[str] = DEFAULT_ROLES,
        users: Sequence[str] | None = None,
        not_by: bool = True,
        count: int = 1,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        on_timeout: str = "deny",
        remind_seconds: float | None = None,
        escalate_roles: Sequence[str] | None = None,
        key: str | None = None,
        was: Sequence[str] = (),
    ) -> Any:
        """Ask persons for a decision, and wait for it. Return a `Decision`.

        A decision holds in every attempt for the same title, payload and schema; a change asks again. `roles` may
        decide, or only `users`, but with `not_by` no person who caused the job. `count` persons must approve, one
        denial denies. `schema`: the JSON Schema of the answer, `Decision.data`. After `timeout` seconds the decision
        is not approved, or with `on_timeout="fail"` `WaitTimeout` is raised. After `remind_seconds` a webhook reminds;
        from then on `escalate_roles` may decide too.
        """
        wanted = ApprovalRequest.of(
            title,
            payload=payload,
            schema=schema,
            roles=roles,
            users=users,
            not_by=not_by,
            count=count,
            timeout_seconds=timeout,
            on_timeout=on_timeout,
            remind_seconds=remind_seconds,
            escalate_roles=escalate_roles,
        )
        return self._do("approve", name, self._calls.approve(name, wanted, key=key, was=was))

    def sleep(self, seconds: float, *, key: str | None = None) -> Any:
        """Sleep; from one second on, without occupying a process."""
        return self._do("sleep", seconds, self._calls.sleep(seconds, key=key))

    def gather(self, *branches: Awaitable[Any], return_exceptions: bool = False) -> Coroutine[Any, Any, list[Any]]:
        """Await branches of an async handler that may wait. Return their results."""
        if not self._calls.is_async:
            raise TypeError("env.gather awaits the branches of an `async def` handler; call them one after the other")
        return self._calls.unawaited.add(
            "gather", None, lambda: self._calls.gather(branches, return_exceptions=return_exceptions)
        )

    def _do(self, name: str, argument: object, steps: Steps[Any]) -> Any:
        async def do() -> Any:
            return await _loaded(await acts.run_async(steps))

        return self._calls.unawaited.add(name, argument, do) if self._calls.is_async else acts.run(steps)


async def _loaded(found: Any) -> Any:
    """Return a call's result. Load its outputs in a thread, because the event loop may serve other runs."""
    if isinstance(found, ChildJob | Outputs) and not found.is_loaded:
        await asyncio.get_running_loop().run_in_executor(None, found.load)
    return found


class _Process:
    """The state of this process."""

    #: Whether it runs handlers: then no thread may create a job without a parent.
    runs_handlers = False


#: The `Env` of the handler that executes the code; None outside of handlers, and in threads that a handler started.
_current: ContextVar[Env | None] = ContextVar("ava_env", default=None)


def enter(env: Env) -> None:
    """Set the `Env` of the current context, before the handler is called in it."""
    _Process.runs_handlers = True
    _current.set(env)


def leave() -> None:
    """Allow triggers outside of handlers again: this process runs no handler any more."""
    _Process.runs_handlers = False


def current_env() -> Env | None:
    """Return the `Env` of the handler that executes this code; None outside of handlers.

    Raise `WaitInTask` in another thread of a handler: a job that it creates would not belong to the handler's job.
    """
    env = _current.get()
    if (env is None and _Process.runs_handlers) or (env is not None and threading.get_ident() != env.thread_id):
        raise WaitInTask("Only the handler's own thread may trigger jobs: return the inputs from other threads to it.")
    return env
