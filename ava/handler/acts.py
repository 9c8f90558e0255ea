"""Run a handler's calls: a call yields each act that may take long, and gets the result.

So one function serves both kinds of handlers. `run` does the acts in the handler's thread. `run_async` does statements
in another thread, while other tasks of the handler continue.
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
    """What a call needs done: a statement, or a call of what the handler has given."""

    do: Callable[[], Any]
    is_statement: bool = False


#: A call: what it yields is done, and it gets the result.
Steps = Generator[Act, Any, T]


def run(steps: Steps[T]) -> T:
    """Returns the result of a call, whose acts are done in this thread."""
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
    """Returns the result of a call of an async handler. Statements are done in a thread of the loop's."""
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
    """The calls of an async handler that it has made and not awaited: such a call has done nothing."""

    def __init__(self) -> None:
        self._numbers = count()
        #: The name and the first argument of each call, and its coroutine.
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
        """Raise `CallNotAwaited` for the first of them; the handler has returned."""
        if (error := self._drop()) is not None:
            raise error

    def explain(self, error: BaseException) -> None:
        """Name the first of them in the traceback of what the handler raised, because it may be the cause."""
        if (unawaited := self._drop()) is not None and isinstance(error, Exception):
            error.add_note(f"CallNotAwaited: {unawaited}")

    def _drop(self) -> CallNotAwaited | None:
        calls, self._calls = [*self._calls.values()], {}
        # A coroutine that is freed without this is a warning of Python's, without the name of the call.
        for *_, coroutine in calls:
            coroutine.close()
        for name, argument, _ in calls[:1]:
            # Python has no text of an integer of more than 4,300 digits.
            is_brief = isinstance(argument, str) or (isinstance(argument, int | float) and abs(argument) < 1e9)
            call = f"env.{name}({repr(argument)[:80] if is_brief else '…'})"
            return CallNotAwaited(f"{call} was not awaited, so it did nothing: write `await env.{name}(…)`")
        return None
