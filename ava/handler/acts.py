"""How a call of a handler is done: it yields each act that may take long, and gets the result.

So one text serves both kinds of handlers. `run` does the acts in the handler's thread. `run_async` does statements in
another thread, and other tasks of the handler go on meanwhile.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

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
