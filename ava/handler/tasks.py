"""Handlers as typed tasks: call the function of one directly, or trigger its jobs from any code."""

from __future__ import annotations

import importlib
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import cached_property, partial, update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from ava.handler import configured_client
from ava.handler.children import json_of
from ava.handler.env import current_env
from ava.handler.handles import AsyncChildHandle, AsyncHandle, ChildHandle, Handle, Then, Value
from ava.handler.typed_values import output_decoder, to_payload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ava.client.methods import TriggerOptions
    from ava.handler.registry import Handler

    class Options(TriggerOptions, total=False):
        """The options of a trigger: the client's, and for a child the options of `env.trigger`."""

        idempotency_key: str | None
        is_replicated: bool
        key: str | None
        was: Sequence[str]
        detached: bool


Input = TypeVar("Input")
Output = TypeVar("Output")
#: The parameters of a handler after its input, and its return type; of an `async def` a coroutine of its output.
Rest = ParamSpec("Rest")
Returned = TypeVar("Returned")

_ONLY_OF_CHILDREN = frozenset({"key", "was", "detached"})
#: The names of other libraries for a trigger, and the form here.
_OTHER_NAMES = {
    **dict.fromkeys(("apply_async", "send_with_options", "options", "using"), "{0}.trigger(input, scheduled_at=…)"),
    **dict.fromkeys(("send", "enqueue", "defer", "run_no_wait"), "{0}.trigger(input)"),
    **dict.fromkeys(("s", "si", "signature"), "in a handler env.wait({0}.trigger(input, key=…), …)"),
    **dict.fromkeys(("map", "starmap", "chunks"), "in a handler env.map({0}, inputs)"),
    **dict.fromkeys(("run_many", "batch_trigger"), "{0}.trigger_many(inputs)"),
    **dict.fromkeys(("trigger_and_wait", "apply"), "{0}.trigger(input).wait()"),
    **dict.fromkeys(("aio_run", "aio_run_no_wait"), "await {0}.atrigger(input)"),
    "retry": "raise ava.RetryLater(seconds, reason)",
}


class Task(Generic[Input, Rest, Returned, Output]):
    """A handler: a call of the task calls the function, and `trigger` creates a job of its worker.

    Within a handler a trigger is `env.trigger` and creates a child. Elsewhere it uses the client of `ava.configure`, or
    creates one from the environment on first use.
    """

    __name__: str
    __qualname__: str

    def __init__(self, handler: Handler) -> None:
        # Without `updated`: an attribute of the function must not replace a method of the task.
        update_wrapper(self, handler.function, updated=())
        #: The function, and the definition of its worker.
        self.handler = handler

    @property
    def worker_id(self) -> str:
        return self.handler.spec.id

    def trigger(self, input: Input, **options: Unpack[Options]) -> Handle[Output]:
        """Trigger a job. In an `async` handler await the call.

        It takes the options of `client.jobs.trigger`; in a handler `key`, `was`, `priority` and `detached`. Raise
        `NotConfigured` without a client, and the errors of the client or of `env.trigger`.
        """
        return self._start("trigger", self._payload(input), options)

    def atrigger(self, input: Input, **options: Unpack[Options]) -> Awaitable[AsyncHandle[Output]]:
        """Trigger a job like `trigger`, without blocking the event loop."""
        return self._start("trigger", self._payload(input), options, is_awaited=True)

    def trigger_many(self, inputs: Iterable[Input], **options: Unpack[Options]) -> list[Handle[Output]]:
        """Trigger a job for each input; outside of handlers at most 1,000, in one transaction.

        In a handler the children are named `key.0`, `key.1` and so on; without `key` by the worker's id.
        """
        return self._start("trigger_many", map(self._payload, inputs), options)

    def atrigger_many(
        self, inputs: Iterable[Input], **options: Unpack[Options]
    ) -> Awaitable[list[AsyncHandle[Output]]]:
        """Trigger a job for each input like `trigger_many`, without blocking the event loop."""
        return self._start("trigger_many", map(self._payload, inputs), options, is_awaited=True)

    def delay(self, *input: Input, **fields: Any) -> Handle[Output]:
        """Trigger a job as in Celery: with the input, or with the fields of the input by name."""
        if len(input) > 1 or (input and fields):
            raise TypeError(f"{self.__name__}.delay takes one input, or its fields by name{self._fields_example}")
        return self._start("trigger", self._payload(input[0] if input else fields), {})

    def run(self, input: Input, **options: Any) -> Any:
        """Run the handler once in this process, without servers. Return the `Result` of `ava.testing.run`.

        Raise TypeError in a handler, where other libraries run a child by this name.
        """
        if current_env() is not None:
            raise TypeError(f"{self.__name__}.run is for tests; write {self.__name__}.trigger(input).wait()")
        # By name, because the package depends on this one; an application does not import it.
        return importlib.import_module("ava.testing").run(self, self._payload(input), **options)

    # Mypy: each caller declares its return type.
    def _start(self, method: str, given: Any, options: Mapping[str, Any], *, is_awaited: bool = False) -> Value:  # type: ignore[type-var]
        """Trigger one job or many. Return the handles, or an awaitable of them."""
        decode = self._decode
        if (env := current_env()) is None:
            handle: Any = partial(AsyncHandle if is_awaited else Handle, decode=decode)
            found = self._call_client(method, given, options, is_awaited=is_awaited)
        else:
            is_awaited = is_awaited or env.is_async
            handle = partial(AsyncChildHandle if is_awaited else ChildHandle, env=env, decode=decode)
            found = getattr(env, method)(self.worker_id, given, **_of_children(options))
        convert = handle if method == "trigger" else lambda jobs: [handle(job) for job in jobs]
        return Then(found, convert) if is_awaited else convert(found)  # type: ignore[return-value]

    def _call_client(self, method: str, given: Any, options: Mapping[str, Any], *, is_awaited: bool) -> Any:
        from ava.client.jobs import Jobs

        call = configured_client.call_async if is_awaited else configured_client.call
        if wrong := sorted(options.keys() & _ONLY_OF_CHILDREN):
            raise TypeError(f"{', '.join(wrong)}: only for children, in a handler; here use idempotency_key")
        if method == "trigger":
            return call(method, self.worker_id, given, **options)
        whole = {name: options[name] for name in ("idempotency_key", "is_replicated") if name in options}
        each = {name: value for name, value in options.items() if name not in whole}
        entries = [Jobs.entry(self.worker_id, payload, **each) for payload in given]
        return call(method, entries, **whole) if entries else []

    def _payload(self, input: Any) -> dict[str, Any]:
        try:
            return to_payload(input, json_of)
        except TypeError as error:
            raise TypeError(f"{self.__name__}: {error}{self._fields_example}") from None

    @cached_property
    def _decode(self) -> Callable[[Any], Any]:
        """Return the function that converts an output to the annotated type."""
        try:
            decode = output_decoder(self.handler.function)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{self.__name__}: the output's annotation cannot be used: {error}") from None

        def checked(output: Any) -> Any:
            try:
                return decode(output)
            except ValueError as error:
                raise ValueError(f"the output of {self.worker_id} does not match its annotation: {error}") from error

        return checked

    @property
    def _fields_example(self) -> str:
        """Return an example of a call, with the fields of the declared input."""
        schema = json.loads(self.handler.spec.input_schema_json or "{}")
        names = [name for name in schema.get("properties", {}) if name.isidentifier()]
        return f": {self.__name__}.delay({', '.join(f'{name}=…' for name in names or ['field'])})"

    # The function that it wraps --------------------------------------------------------------------------------------

    if TYPE_CHECKING:

        def __call__(self, input: Input, /, *args: Rest.args, **kwargs: Rest.kwargs) -> Returned:
            """Call the handler's function."""

    else:

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.handler.function(*args, **kwargs)

        def __getattr__(self, name: str) -> Any:
            """Return an attribute of the function, so that `inspect` treats the task as the function."""
            if name in _OTHER_NAMES and not hasattr(self.__wrapped__, name):
                raise AttributeError(f"a task has no {name!r}; write {_OTHER_NAMES[name].format(self.__name__)}")
            return getattr(self.__wrapped__, name)

    def __reduce__(self) -> str:
        # Pickled by its name, as a function is.
        return self.__qualname__

    def __repr__(self) -> str:
        return f"<Task {self.worker_id}: {self.__module__}.{self.__qualname__}>"


class Declare(Protocol):
    """The decorator that `@worker(…)` returns."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Input, Rest], Coroutine[Any, Any, Output]], /
    ) -> Task[Input, Rest, Coroutine[Any, Any, Output], Output]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Input, Rest], Output], /
    ) -> Task[Input, Rest, Output, Output]: ...


def _of_children(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of a child. Raise TypeError for options that only a job without a parent has."""
    if wrong := sorted(options.keys() - _ONLY_OF_CHILDREN - {"priority"}):
        raise TypeError(f"{', '.join(wrong)}: not for children; in a handler use key, was, priority and detached")
    return options
