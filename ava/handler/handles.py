"""The jobs that a task has triggered: outside of handlers, or as children of a handler."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ava.handler import configured_client
from ava.handler.children import ChildJob

if TYPE_CHECKING:
    from ava.client import Job
    from ava.handler.env import Env

Output = TypeVar("Output")
Value = TypeVar("Value")

#: The names of other libraries, and the form here.
_OTHER_NAMES = {
    **dict.fromkeys(("get", "result", "output", "aio_result"), "handle.wait(timeout=…)"),
    **dict.fromkeys(("status", "state", "ready", "error"), "client.jobs.get(handle.id)"),
    **dict.fromkeys(("cancel", "revoke", "abort"), "client.jobs.cancel(handle.id)"),
}


class _JobHandle(Generic[Output]):
    """A triggered job."""

    def __init__(self, job: Job, decode: Callable[[Any], Output]) -> None:
        self._job, self._decode = job, decode

    @property
    def id(self) -> str:
        return self._job.id

    @property
    def worker_id(self) -> str:
        return self._job.worker_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} of {self.worker_id}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            form = f"; write {_OTHER_NAMES[name]}" if name in _OTHER_NAMES else ""
            raise AttributeError(f"a handle has no {name!r}{form}")


class Handle(_JobHandle[Output]):
    """A triggered job. In an `async` handler it is awaited first, which returns an `AsyncHandle`."""

    def wait(self, timeout: float | None = None, *, key: str | None = None) -> Output:
        """Wait until the job has ended. Return its output in the type that its handler's annotation names.

        In a handler this is `env.wait`, and `key` names the wait. Raise `WaitTimeout` after `timeout` seconds,
        `JobFailed` (of a child `ChildFailed`) if it did not complete, and `ValueError` for an output of another type.
        """
        _refuse_key(key)
        return self._decode(configured_client.wait(self.id, timeout))

    def __await__(self) -> Generator[Any, Any, AsyncHandle[Output]]:
        yield from ()
        return AsyncHandle(self._job, self._decode)


class AsyncHandle(_JobHandle[Output]):
    """A triggered job with an awaited output."""

    def wait(self, timeout: float | None = None, *, key: str | None = None) -> Awaitable[Output]:
        """Wait until the job has ended, as `Handle.wait` does."""
        _refuse_key(key)
        return Then(configured_client.wait_async(self.id, timeout), self._decode)


class ChildHandle(ChildJob, Handle[Output]):
    """A child that a task has triggered."""

    def __init__(self, child: ChildJob, env: Env, decode: Callable[[Any], Output]) -> None:
        ChildJob.__init__(self, child._state, child._read_outputs)
        # Shared, so that an output that was read for the child is not read again.
        self._output = child._output
        self._env, self._decode = env, decode

    def wait(self, timeout: float | None = None, *, key: str | None = None) -> Output:
        """Wait until the child has ended, as `env.wait` does."""
        return self._decode(self._env.wait(self, timeout=timeout, key=key)[0])

    def __await__(self) -> Generator[Any, Any, AsyncHandle[Output]]:
        yield from ()
        return AsyncChildHandle(self, self._env, self._decode)


class AsyncChildHandle(ChildJob, AsyncHandle[Output]):
    """A child with an awaited output."""

    def __init__(self, child: ChildJob, env: Env, decode: Callable[[Any], Output]) -> None:
        ChildJob.__init__(self, child._state, child._read_outputs)
        self._output = child._output
        self._env, self._decode = env, decode

    def wait(self, timeout: float | None = None, *, key: str | None = None) -> Awaitable[Output]:
        """Wait until the child has ended, as `env.wait` does."""
        return Then(self._env.wait(self, timeout=timeout, key=key), lambda outputs: self._decode(outputs[0]))


class Then(Awaitable[Value]):
    """Converts the result of an awaitable, or a value of a handler that is not `async`."""

    def __init__(self, found: Any, convert: Callable[[Any], Value]) -> None:
        self._found, self._convert = found, convert

    def __await__(self) -> Generator[Any, Any, Value]:
        found = self._found
        return self._convert((yield from found.__await__()) if inspect.isawaitable(found) else found)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no {name!r} yet: await the trigger, `handle = await task.atrigger(…)`")


def _refuse_key(key: str | None) -> None:
    if key is not None:
        raise TypeError("key names a wait in a handler; outside of a handler omit it")
