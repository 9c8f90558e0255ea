"""A handler's calls that its journal records: children, steps, waits and sleeps. No I/O.

A call is a generator of acts (`ava.handler.acts`), or a plain function if it needs none.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from ava.domain.approval import ApprovalRequest, Decision
from ava.domain.jobs.waits import (
    MAX_STEP_BYTES,
    EntryState,
    JournalKind,
    LoadedJournal,
    NewChild,
    NewEntry,
    Wait,
    WaitCondition,
)
from ava.handler.acts import Act, Steps, UnawaitedCalls
from ava.handler.branches import Branches
from ava.handler.call_arguments import check_earlier_names, check_priority, check_seconds, encode_input, read_worker_id
from ava.handler.child_calls import ChildCalls, ChildStore, NumberedChildren
from ava.handler.children import ChildJob, Outputs, json_of
from ava.handler.entries import JournalEntries
from ava.handler.errors import StepError, StepInterrupted, WaitInTask
from ava.handler.wait_calls import WaitCalls, WaitStore

#: Shorter sleeps stay in the process.
_MIN_SLEEP_SECONDS = 1.0

_step: ContextVar[str | None] = ContextVar("ava_step", default=None)


class JournalStore(WaitStore, ChildStore, Protocol):
    """Stores a run's journal, creates its job's children, finds events, and requests decisions.

    The methods raise an exception if the run must end.
    """

    def write(self, entries: Sequence[NewEntry]) -> None:
        """Write entries."""

    def admit_wait(self) -> None:
        """Raise `TooManyWaiting` if the tenant has reached its limit of waiting jobs."""


@dataclass(kw_only=True)
class Calls:
    store: JournalStore
    job_id: str
    journal: LoadedJournal = field(default_factory=LoadedJournal)
    is_async: bool = False
    #: Called when the run gets the last journal entry, or writes its first.
    on_caught_up: Callable[[], None] = lambda: None
    #: Monotonic seconds, and the pause of short sleeps; `ava.testing` replaces both.
    now: Callable[[], float] = time.monotonic
    pause: Callable[[float], Any] | None = None
    #: When the journal was loaded, by `now`; None: now.
    loaded_at: float | None = None
    #: Function for the tasks of an async handler; in a slot process other runs share its event loop.
    all_tasks: Callable[[], Iterable[asyncio.Task[Any]]] = asyncio.all_tasks
    thread_id: int = field(default_factory=threading.get_ident)
    unawaited: UnawaitedCalls = field(default_factory=UnawaitedCalls)

    def __post_init__(self) -> None:
        self._entries = JournalEntries(
            self.journal, on_caught_up=self.on_caught_up, now=self.now, loaded_at=self.loaded_at
        )
        self._children = ChildCalls(self.store, self._entries, self.journal)
        self._branches = Branches(
            self._entries, self._write, self.store.admit_wait, is_async=self.is_async, all_tasks=self.all_tasks
        )
        self._waits = WaitCalls(
            self.store,
            self.journal,
            entries=self._entries,
            branches=self._branches,
            write=self._write,
            children=self._children.by_id,
            names=self._children.names,
        )

    @property
    def wait(self) -> Wait | None:
        return self._branches.wait

    # Children ------------------------------------------------------------------------------------------------------

    def trigger(
        self, worker: object, input: Any, *, key: str | None, was: Sequence[str], priority: int | None, detached: bool
    ) -> Steps[ChildJob]:
        """Return the child with the name; create it if there is none."""
        self._enter()
        worker_id = read_worker_id(worker)
        name = worker_id if key is None else key
        if (known := self._children.find(name, was)) is not None:
            return known
        new = NewChild(
            name=name,
            worker_id=worker_id,
            input_json=encode_input(input),
            priority=check_priority(priority),
            is_detached=bool(detached),
        )
        (child,) = yield from self._children.create([new])
        return child

    def trigger_many(
        self,
        worker: object,
        inputs: Iterable[Any],
        *,
        key: str | None,
        was: Sequence[str],
        priority: int | None,
        detached: bool,
    ) -> Steps[list[ChildJob]]:
        """Return a child per input, named by its number: `name.0`, `name.1`."""
        self._enter()
        check_earlier_names(was)
        many = NumberedChildren(self._children, worker, priority=priority, is_detached=bool(detached))
        base = read_worker_id(worker) if key is None else key
        for number, input in enumerate(inputs):
            name = f"{base}.{number}"
            if not many.find(number, name, [f"{earlier}.{number}" for earlier in was]):
                yield from many.add(number, name, input)
        yield from many.create()
        return many.children

    def map(
        self,
        worker: object,
        items: Iterable[Any],
        *,
        key: str | None,
        max_concurrency: int | None,
        return_exceptions: bool,
    ) -> Steps[Outputs]:
        """Create a child per item, wait until all have ended, and return their outputs."""
        self._enter(waits=True)
        if max_concurrency is not None and max_concurrency < 1:
            raise ValueError(f"max_concurrency must be a number from 1, not {max_concurrency!r}")
        many = NumberedChildren(self._children, worker, priority=None, is_detached=False)
        base = read_worker_id(worker) if key is None else key
        for number, item in enumerate(items):
            name = f"{base}[{number}]"
            if many.find(number, name):
                continue
            if max_concurrency is not None and many.unfinished >= max_concurrency:
                yield from many.create()
                self._waits.suspend(WaitCondition.ANY, many.children)
            yield from many.add(number, name, item)
        yield from many.create()
        if many.unfinished:
            self._waits.suspend(WaitCondition.ENDED, many.children)
        return self._outputs(many.children, return_exceptions=return_exceptions)

    # Steps ---------------------------------------------------------------------------------------------------------

    def step(
        self, name: str, fn: Callable[..., Any], *args: Any, key: str | None, was: Sequence[str], once: str
    ) -> Steps[Any]:
        """Return the result of a function, from this run or an earlier one."""
        self._enter()
        if once not in ("at_least", "at_most"):
            raise ValueError(f'once must be "at_least" or "at_most", not {once!r}')
        whole = name if key is None else f"{name}/{key}"
        found = self._entries.find(JournalKind.STEP, whole, was)
        if found is not None and found.state is EntryState.DONE:
            return json.loads(found.value_json or "null")
        if found is not None:
            raise StepInterrupted(f"The step {whole!r} had begun when its run ended; check whether it took effect.")
        self._entries.add_value()
        if once == "at_most":
            yield from self._write(NewEntry(kind=JournalKind.STEP, name=whole, state=EntryState.BEGAN))
        token = _step.set(whole)
        try:
            value = yield Act(lambda: fn(*args))
        finally:
            _step.reset(token)
        value_json = self._step_json(whole, value)
        yield from self._write(
            NewEntry(kind=JournalKind.STEP, name=whole, state=EntryState.DONE, value_json=value_json)
        )
        return json.loads(value_json)

    def _step_json(self, name: str, value: Any) -> str:
        try:
            value_json = json.dumps(value, allow_nan=False, separators=(",", ":"), default=json_of)
        except (TypeError, ValueError, RecursionError) as error:
            raise StepError(f"JSON cannot represent the return value of step {name!r}: {error}") from error
        if len(value_json) > MAX_STEP_BYTES:
            size = f"{len(value_json):,} bytes of JSON, more than {MAX_STEP_BYTES:,}"
            raise StepError(f"The step {name!r} returned {size} (limit step_bytes)")
        self._entries.add_bytes(value_json)
        return value_json

    @property
    def step_key(self) -> str:
        """Return the idempotency key of the running step. Raise `StepError` outside a step."""
        name = _step.get()
        if name is None:
            raise StepError("env.step_key is for the function of a step: call env.step(name, function)")
        return f"{self.job_id}:{name}"

    # Waits ---------------------------------------------------------------------------------------------------------

    def wait_for_all(
        self, children: Sequence[ChildJob], *, timeout: float | None, key: str | None, return_exceptions: bool
    ) -> Steps[Outputs]:
        """Wait until all children have ended, and return their outputs."""
        self._enter(waits=True)
        yield from self._waits.for_all(children, timeout=timeout, key=key)
        return self._outputs(children, return_exceptions=return_exceptions)

    def wait_for_any(self, children: Sequence[ChildJob], *, timeout: float | None, key: str | None) -> Steps[ChildJob]:
        """Wait until a child has ended, with any outcome, and return it."""
        self._enter(waits=True)
        first = yield from self._waits.for_any(children, timeout=timeout, key=key)
        return first

    def sleep(self, seconds: float, *, key: str | None) -> Steps[None]:
        """Return after `seconds`."""
        self._enter(waits=True)
        seconds = check_seconds("seconds", seconds)
        if seconds < _MIN_SLEEP_SECONDS:
            pause = self.pause or (asyncio.sleep if self.is_async else time.sleep)
            yield Act(lambda: pause(seconds))
        else:
            yield from self._waits.sleep(seconds, key=key)

    def wait_for_event(
        self, type_: str, match: Mapping[str, Any] | None, *, timeout: float | None, key: str | None
    ) -> Steps[Mapping[str, Any]]:
        """Return the record of the first event that matches and that no other wait has returned."""
        self._enter(waits=True)
        event = yield from self._waits.for_event(type_, match, timeout=timeout, key=key)
        return event

    def approve(self, name: str, wanted: ApprovalRequest, *, key: str | None, was: Sequence[str]) -> Steps[Decision]:
        """Return the decision of persons about a request."""
        self._enter(waits=True)
        decision = yield from self._waits.for_decision(name if key is None else f"{name}/{key}", wanted, was)
        return decision

    def _outputs(self, children: Sequence[ChildJob], *, return_exceptions: bool) -> Outputs:
        if not return_exceptions:
            for child in children:
                if (failure := child.failure) is not None:
                    raise failure
        return Outputs(tuple(children), self.store.outputs)

    async def gather(self, awaitables: Sequence[Awaitable[Any]], *, return_exceptions: bool) -> list[Any]:
        """Return the results of branches that may wait."""
        self._enter()
        return await self._branches.gather(awaitables, return_exceptions=return_exceptions)

    # The journal ---------------------------------------------------------------------------------------------------

    def _enter(self, *, waits: bool = False) -> None:
        """Check that a call is allowed here. Suspend a branch that an earlier run abandoned at this wait."""
        if threading.get_ident() != self.thread_id:
            raise WaitInTask("Only the handler's own thread may use the journal; other threads cannot wait.")
        self._branches.check()
        if (name := _step.get()) is not None:
            raise StepError(f"The step {name!r} calls the journal; a step contains no other step, child or wait.")
        if waits:
            self._branches.begin_wait()

    def _write(self, *entries: NewEntry) -> Steps[None]:
        self._entries.catch_up()
        yield Act(lambda: self.store.write(entries), is_statement=True)
