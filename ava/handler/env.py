"""What a handler gets beside its input."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from ava.domain.jobs.job import Job
from ava.domain.record import make_record
from ava.handler import acts
from ava.handler.acts import Steps
from ava.handler.calls import Calls
from ava.handler.children import ChildJob, Outputs


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

    `env["KEY"]` is what the tenant has set, else what the platform has, else the variable `AVA_WORKER_<SLUG>_<KEY>` of
    the environment.
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
        #: The secrets that the tenant has set of this worker, by name. They are masked in the job's log, output and
        #: error.
        self.secrets = Secrets(secrets or {})
        self._report = report
        self._is_cancelled = is_cancelled
        #: Writes lines into the job's log.
        self.log = log
        self._job = job
        #: The value of W3C's header of this name. A request that carries it joins the job's trace; OpenTelemetry's
        #: own instrumentation adds it by itself. None if nothing is traced.
        self.traceparent = traceparent
        #: Which attempt this is, from 1.
        self.attempt = job.attempt

    @cached_property
    def job(self) -> dict[str, Any]:
        """Returns the job's record, as the API shows it."""
        return make_record(self._job)

    @cached_property
    def _calls(self) -> Calls:
        # Made when they are first needed, because most handlers use none of them.
        return self._make_calls()

    @property
    def cancelled(self) -> bool:
        """Returns True if the handler must stop, because of a cancel, its time-out or a shutdown."""
        return self._is_cancelled()

    def progress(self, fraction: float, message: str = "") -> None:
        """Report the progress, from 0 to 1, with a short message. Raises ValueError for any other number."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"progress must be from 0 to 1, not {fraction!r}")
        self._report(float(fraction), str(message))

    def __getitem__(self, key: str) -> str:
        return self._config[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._config)

    def __len__(self) -> int:
        return len(self._config)

    # Jobs that belong together. In async handlers each of these is awaited. -----------------------------------------

    def trigger(
        self,
        worker_id: str,
        input: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        was: Sequence[str] = (),
        priority: int | None = None,
        detached: bool = False,
    ) -> Any:
        """Make a job on behalf of this one: a `ChildJob`. Its name in the journal is `key`, else its worker's id.

        `was`: earlier names of it. `detached`: a cancel of this job spares it. Raises `ChildRefused`, and
        `DuplicateName` for a name that this run has used.
        """
        return self._do(
            "trigger",
            worker_id,
            self._calls.trigger(worker_id, input, key=key, was=was, priority=priority, detached=detached),
        )

    def map(
        self,
        worker_id: str,
        items: Iterable[Mapping[str, Any]],
        *,
        key: str | None = None,
        max_concurrency: int | None = None,
        return_exceptions: bool = False,
    ) -> Any:
        """Make a child for each item, which is its input, and wait for all. Returns their outputs in that order.

        At most `max_concurrency` of them are unfinished at once.
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
        """Call `fn(*args)` and keep what it returns. Returns what it returned, also when the handler is entered again.

        A crash between the effect and the journal calls it again, with the same `step_key`. With `once="at_most"` it is
        not called again: `StepInterrupted` is raised.
        """
        return self._do("step", name, self._calls.step(name, fn, *args, key=key, was=was, once=once))

    @property
    def step_key(self) -> str:
        """Returns the idempotency key of the step whose function runs."""
        return self._calls.step_key

    def wait(
        self, *children: ChildJob, timeout: float | None = None, key: str | None = None, return_exceptions: bool = False
    ) -> Any:
        """Wait until children have ended. Returns the sequence of their outputs, in that order.

        Raises `ChildFailed` for the first that did not complete, and `WaitTimeout` after `timeout` seconds.
        """
        return self._do(
            "wait",
            None,
            self._calls.wait_for_all(children, timeout=timeout, key=key, return_exceptions=return_exceptions),
        )

    def wait_any(self, *children: ChildJob, timeout: float | None = None, key: str | None = None) -> Any:
        """Wait until one of some children has ended. Returns the first one, whatever its end."""
        return self._do("wait_any", None, self._calls.wait_for_any(children, timeout=timeout, key=key))

    def wait_event(
        self,
        type: str,
        match: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        key: str | None = None,
    ) -> Any:
        """Wait for an event. Returns the record of the first one that matches since the job's creation.

        An event that another `wait_event` of the job has returned is left out. `match` is a pattern as of a
        subscription. Its name in the journal is `key`, else `type`. Raises `WaitTimeout` after `timeout` seconds.
        """
        return self._do("wait_event", type, self._calls.wait_for_event(type, match, timeout=timeout, key=key))

    def sleep(self, seconds: float, *, key: str | None = None) -> Any:
        """Wait for some seconds, outside of a process if it is a second or more."""
        return self._do("sleep", seconds, self._calls.sleep(seconds, key=key))

    def gather(self, *branches: Awaitable[Any], return_exceptions: bool = False) -> Coroutine[Any, Any, list[Any]]:
        """Await branches of an async handler, each of which may wait. Returns their results."""
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
    """Returns what a call has found. Its outputs are read in a thread, because the event loop may have other runs."""
    if isinstance(found, ChildJob | Outputs) and not found.is_loaded:
        await asyncio.get_running_loop().run_in_executor(None, found.load)
    return found
