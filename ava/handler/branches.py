"""The parts of a handler that wait by themselves: the handler as a whole, and the branches of `env.gather`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from ava.domain.jobs.waits import NewEntry, Wait, WaitCondition
from ava.handler.errors import Suspended, SuspensionSwallowed, WaitInTask


@dataclass(eq=False, slots=True)
class _Part:
    """One of them."""

    #: Its task, if it is a branch of `gather`.
    task: asyncio.Task[Any] | None = None
    #: What it waits for, once it does.
    wait: Wait | None = None


_branch: ContextVar[_Part | None] = ContextVar("ava_branch", default=None)


class Branches:
    """The parts of one run's handler."""

    def __init__(
        self,
        *,
        is_async: bool,
        admit_wait: Callable[[], None],
        all_tasks: Callable[[], Iterable[asyncio.Task[Any]]],
    ) -> None:
        """`admit_wait` raises an error if the job may not wait. `all_tasks` returns the tasks of the handler."""
        self._is_async = is_async
        self._admit_wait = admit_wait
        self._all_tasks = all_tasks
        self._root = _Part()

    @property
    def wait(self) -> Wait | None:
        """Returns what the handler as a whole waits for; None if it is not suspended."""
        return self._root.wait

    @property
    def _current(self) -> _Part:
        return _branch.get() or self._root

    def check(self) -> None:
        """Raises `Suspended` again in a part that waits."""
        if (wait := self._current.wait) is not None:
            raise Suspended(wait.text)

    def suspend(self, wait: Wait, take_entries: Callable[[], Sequence[NewEntry]]) -> NoReturn:
        """Raises `Suspended` in the part that waits. `take_entries`: what is decided and is written with the wait."""
        if self._is_async:
            self._check_task()
        self._suspend(wait, take_entries)

    def _suspend(self, wait: Wait, take_entries: Callable[[], Sequence[NewEntry]]) -> NoReturn:
        branch = self._current
        if branch is self._root:
            self._admit_wait()
            wait = replace(wait, entries=(*take_entries(), *wait.entries))
        branch.wait = wait
        raise Suspended(wait.text)

    def _check_task(self) -> None:
        """Raises `WaitInTask` if other tasks of the handler would be abandoned by a wait in this one."""
        branch, task = self._current, asyncio.current_task()
        others = (each for each in self._all_tasks() if each is not task and not each.done())
        if any(others) if branch is self._root else task is not branch.task:
            raise WaitInTask(
                "A wait ends the run while other tasks of the handler work: make branches that wait with env.gather."
            )

    async def gather(
        self,
        awaitables: Sequence[Awaitable[Any]],
        take_entries: Callable[[], Sequence[NewEntry]],
        *,
        return_exceptions: bool,
    ) -> list[Any]:
        """Returns the results of branches that may wait. Suspends the handler once each has ended or waits."""
        branches = [_Part() for _ in awaitables]
        tasks = [asyncio.ensure_future(_enter(*pair)) for pair in zip(branches, awaitables, strict=True)]
        try:
            if tasks:
                await asyncio.wait(tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        # Retrieve all errors before one is raised, because asyncio logs a task's error that nobody has retrieved.
        errors = [asyncio.CancelledError() if task.cancelled() else task.exception() for task in tasks]
        results: list[Any] = []
        for task, branch, error in zip(tasks, branches, errors, strict=True):
            if branch.wait is not None and not isinstance(error, Suspended | Exception | asyncio.CancelledError):
                raise SuspensionSwallowed
            is_result = error is None or isinstance(error, Suspended)
            if error is not None and not is_result and not (return_exceptions and isinstance(error, Exception)):
                raise error
            results.append(task.result() if error is None else error)
        if waits := [branch.wait for branch in branches if branch.wait is not None]:
            self._suspend(_union(waits), take_entries)
        return results


async def _enter(branch: _Part, awaitable: Awaitable[Any]) -> Any:
    branch.task = asyncio.current_task()
    _branch.set(branch)
    return await awaitable


def _union(waits: Sequence[Wait]) -> Wait:
    """Returns the wait that is over when one of several is."""
    if len(waits) == 1:
        return waits[0]
    job_ids = dict.fromkeys(job_id for wait in waits for job_id in wait.job_ids)
    times = [wait.timeout_seconds for wait in waits if wait.timeout_seconds is not None]
    events = [wait.event for wait in waits if wait.event is not None]
    names = tuple(name for wait in waits for name in wait.event_names)
    condition = WaitCondition.ANY if job_ids else WaitCondition.EVENT if names else WaitCondition.TIME
    return Wait(
        condition=condition,
        job_ids=tuple(job_ids),
        timeout_seconds=min(times, default=None),
        event=events[0] if events else None,
        event_names=names,
        entries=tuple(entry for wait in waits for entry in wait.entries),
    )
