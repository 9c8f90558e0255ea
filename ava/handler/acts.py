"""Run a handler's calls: a call yields each act that may block, and gets its result.

So one function serves sync and async handlers. `run` executes acts in the handler's thread. `run_async` executes
statements in another thread, while other tasks of the handler continue.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from ava.handler.errors import CallNotAwaited

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Act:
    do: Callable[[], Any]
    is_statement: bool = False


Steps = Generator[Act, Any, T]


def run(steps: Steps[T]) -> T:
    """Run a call with all acts in this thread. Return its result."""
    try:
        act = next(steps)
        while True:
            try:
                result = act.do()
            except BaseException as error:
                act = steps.throw(error)
            else:
                act = steps.send(result)
    except StopIteration as end:
        value: T = end.value
        return value


async def run_async(steps: Steps[T]) -> T:
    """Run a call of an async handler, with statements in the loop's executor. Return its result."""
    try:
        act = next(steps)
        while True:
            try:
                if act.is_statement:
                    result = await asyncio.get_running_loop().run_in_executor(None, act.do)
                elif inspect.isawaitable(result := act.do()):
                    result = await result
            except BaseException as error:
                act = steps.throw(error)
            else:
                act = steps.send(result)
    except StopIteration as end:
        value: T = end.value
        return value


class UnawaitedCalls:
    """Calls of an async handler that were made but not awaited, and so had no effect."""

    def __init__(self) -> None:
        self._numbers = count()
        self._calls: dict[int, tuple[str, object, Coroutine[Any, Any, Any]]] = {}

    def add(self, name: str, argument: object, call: Callable[[], Awaitable[T]]) -> Coroutine[Any, Any, T]:
        """Return the coroutine of a call, which begins once the handler awaits it."""
        number = next(self._numbers)

        async def begin() -> T:
            del self._calls[number]
            return await call()

        coroutine = begin()
        self._calls[number] = (name, argument, coroutine)
        return coroutine

    def refuse(self) -> None:
        """Raise `CallNotAwaited` for the first unawaited call; the handler has returned."""
        if (error := self._drop()) is not None:
            raise error

    def explain(self, error: BaseException) -> None:
        """Add the first unawaited call to the traceback of the handler's error, because it may be the cause."""
        if (unawaited := self._drop()) is not None and isinstance(error, Exception):
            error.add_note(f"CallNotAwaited: {unawaited}")

    def _drop(self) -> CallNotAwaited | None:
        calls, self._calls = [*self._calls.values()], {}
        # Otherwise Python warns about each freed coroutine, without the name of the call.
        for *_, coroutine in calls:
            coroutine.close()
        for name, argument, _ in calls[:1]:
            # Python cannot convert an integer of more than 4,300 digits to a string.
            is_brief = isinstance(argument, str) or (isinstance(argument, int | float) and abs(argument) < 1e9)
            call = f"env.{name}({repr(argument)[:80] if is_brief else '…'})"
            return CallNotAwaited(f"{call} was not awaited, so it did nothing: write `await env.{name}(…)`")
        return None
