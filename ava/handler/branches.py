"""The parts of a handler that wait independently: the handler itself, and the branches of `env.gather`.

If one branch raises, `gather` abandons its waiting branches. Later runs of the attempt must abandon them at the same
wait: otherwise a branch would continue although the handler has handled the error. So the journal has an entry for each
gather that raised while branches waited.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from ava.domain.jobs.waits import EntryState, JournalKind, NewEntry, Wait, WaitCondition
from ava.handler.acts import Steps, run, run_async
from ava.handler.call_arguments import joined_names
from ava.handler.entries import JournalEntries
from ava.handler.errors import Suspended, SuspensionSwallowed, WaitInTask, WaitTimeout


@dataclass(eq=False, slots=True)
class _Part:
    """The handler itself or a branch."""

    #: None for the handler itself.
    task: asyncio.Task[Any] | None = None
    wait: Wait | None = None
    #: Prefix of its gathers' names in the journal.
    prefix: str = ""
    #: So far: gathers, and other waits.
    gathers: int = 0
    waits: int = 0
    #: The wait where an earlier run abandoned it.
    left_at: int | None = None
    #: The gather that it waits in.
    inner: _Gather | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Gather:
    name: str
    branches: Sequence[_Part]

    @property
    def left(self) -> dict[str, int]:
        """Return the indices of the waiting branches, each with the number of its wait."""
        waiting = {str(n): branch for n, branch in enumerate(self.branches) if branch.wait is not None}
        return {n: branch.waits + (branch.inner is not None) for n, branch in waiting.items()}

    @property
    def entries(self) -> list[NewEntry]:
        """Return the journal entries for the abandoned branches, including gathers inside them."""
        value_json = json.dumps(self.left)
        own = NewEntry(kind=JournalKind.WAIT, name=self.name, state=EntryState.DONE, value_json=value_json)
        inner = (branch.inner for branch in self.branches if branch.wait is not None and branch.inner is not None)
        return [own, *(entry for gather in inner for entry in gather.entries)]


#: If no branch raises this time, the next run follows immediately.
_AT_ONCE = Wait(condition=WaitCondition.TIME, timeout_seconds=0.0)
_branch: ContextVar[_Part | None] = ContextVar("ava_branch", default=None)


class Branches:
    def __init__(
        self,
        entries: JournalEntries,
        write: Callable[..., Steps[None]],
        admit_wait: Callable[[], None],
        *,
        is_async: bool,
        all_tasks: Callable[[], Iterable[asyncio.Task[Any]]],
    ) -> None:
        """`write` writes journal entries. `admit_wait` raises an error if the job may not wait."""
        self._entries = entries
        self._write = write
        self._is_async = is_async
        self._admit_wait = admit_wait
        self._all_tasks = all_tasks
        self._root = _Part()

    @property
    def wait(self) -> Wait | None:
        return self._root.wait

    @property
    def _current(self) -> _Part:
        return _branch.get() or self._root

    def check(self) -> None:
        """Raise `Suspended` again in a waiting part."""
        if (wait := self._current.wait) is not None:
            raise Suspended(wait.description)

    def begin_wait(self) -> None:
        """Count a wait. Raise `Suspended` in a branch that an earlier run abandoned at it."""
        branch = self._current
        branch.waits += 1
        if branch.left_at is not None and branch.waits >= branch.left_at:
            self._suspend(_AT_ONCE)

    def suspend(self, wait: Wait) -> NoReturn:
        """Raise `Suspended` in the part that waits."""
        if self._is_async:
            self._check_task()
        self._suspend(wait)

    def _suspend(self, wait: Wait) -> NoReturn:
        branch = self._current
        if branch is self._root:
            self._admit_wait()
            self._entries.catch_up()
        branch.wait = wait
        raise Suspended(wait.description)

    def _check_task(self) -> None:
        """Raise `WaitInTask` if a wait here would abandon other tasks of the handler."""
        branch, task = self._current, asyncio.current_task()
        others = (each for each in self._all_tasks() if each is not task and not each.done())
        if any(others) if branch is self._root else task is not branch.task:
            raise WaitInTask(
                "A wait ends the run while other tasks of the handler work: make branches that wait with env.gather."
            )

    async def gather(self, awaitables: Sequence[Awaitable[Any]], *, return_exceptions: bool) -> list[Any]:
        """Return the results of branches that may wait. Suspend the handler once each has ended or waits."""
        gather, left = self._begin_gather(len(awaitables))
        branches = gather.branches
        tasks = [asyncio.ensure_future(_enter(*pair)) for pair in zip(branches, awaitables, strict=True)]
        results: list[Any] = []
        for task, branch, error in zip(tasks, branches, await _errors(tasks), strict=True):
            if branch.wait is not None and not isinstance(error, Suspended | Exception | asyncio.CancelledError):
                raise SuspensionSwallowed
            is_result = error is None or isinstance(error, Suspended)
            if error is not None and not is_result and not (return_exceptions and isinstance(error, Exception)):
                if gather.left != left:
                    await run_async(self._write(*gather.entries))
                raise error
            results.append(task.result() if error is None else error)
        if waits := [branch.wait for branch in branches if branch.wait is not None]:
            self._current.inner = gather
            if left and self._current.left_at is None:
                # The journal stores no errors of steps, and this one did not recur: the branches may continue.
                await run_async(self._write(replace(gather.entries[0], value_json="{}")))
            self._suspend(_union(waits))
        return results

    def try_each(self, calls: Iterable[Steps[Any]]) -> tuple[Wait | None, Sequence[NewEntry]]:
        """Run calls that wait, each as a branch; for a handler whose waits arrive over HTTP.

        Return the wait that any of them satisfies, or None if a call has returned or timed out; and the entries of the
        calls that wait.
        """
        waits: list[Wait] = []
        is_satisfied = False
        for call in calls:
            part = _Part()
            token = _branch.set(part)
            try:
                run(call)
                is_satisfied = True
            except WaitTimeout:
                is_satisfied = True
            except Suspended:
                assert part.wait is not None
                waits.append(part.wait)
            finally:
                _branch.reset(token)
        entries = [entry for wait in waits for entry in wait.entries]
        return None if is_satisfied else _union(waits), entries

    def _begin_gather(self, count: int) -> tuple[_Gather, dict[str, int]]:
        """Begin a gather of `count` branches. Return it, and the waits where an earlier run abandoned branches."""
        part = self._current
        part.gathers += 1
        name = joined_names([f"{part.prefix}gather {part.gathers}"])
        found = self._entries.find(JournalKind.WAIT, name, ())
        left: dict[str, int] = {} if found is None else json.loads(found.value_json or "{}")
        branches = [_Part(prefix=f"{name}.{n} ", left_at=left.get(str(n))) for n in range(count)]
        return _Gather(name=name, branches=branches), left


async def _errors(tasks: Sequence[asyncio.Task[Any]]) -> list[BaseException | None]:
    """Wait for all tasks. Return the error of each; asyncio would log errors that are not retrieved."""
    try:
        if tasks:
            await asyncio.wait(tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return [asyncio.CancelledError() if task.cancelled() else task.exception() for task in tasks]


async def _enter(branch: _Part, awaitable: Awaitable[Any]) -> Any:
    branch.task = asyncio.current_task()
    _branch.set(branch)
    return await awaitable


def _union(waits: Sequence[Wait]) -> Wait:
    """Return a wait that any of several satisfies."""
    if len(waits) == 1:
        return waits[0]
    job_ids = dict.fromkeys(job_id for wait in waits for job_id in wait.job_ids)
    times = [wait.timeout_seconds for wait in waits if wait.timeout_seconds is not None]
    events = [wait.event for wait in waits if wait.event is not None]
    names = tuple(name for wait in waits for name in wait.event_names)
    approvals = tuple(name for wait in waits for name in wait.approval_names)
    conditions = {
        WaitCondition.ANY: job_ids,
        WaitCondition.EVENT: names,
        WaitCondition.APPROVAL: approvals,
        WaitCondition.TIME: True,
    }
    condition = next(each for each, is_awaited in conditions.items() if is_awaited)
    return Wait(
        condition=condition,
        job_ids=tuple(job_ids),
        timeout_seconds=min(times, default=None),
        event=events[0] if events else None,
        event_names=names,
        approval_id=next((wait.approval_id for wait in waits if wait.approval_id is not None), None),
        approval_names=approvals,
        entries=tuple(entry for wait in waits for entry in wait.entries),
    )
