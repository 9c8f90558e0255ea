"""Describe each API call once, for `Client` and `AsyncClient`.

A call is a generator, like an `auth_flow` of httpx: it yields steps (send a request, wait, read a chunk) and receives
their results. So it contains paths, parameters, retries and pages, but no I/O. A sender executes the steps:
`RequestsSender` blocks, `HttpxSender` awaits. The descriptors `call` and `listing` give a method the return type of its
client.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, update_wrapper
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

Given = ParamSpec("Given")
Result = TypeVar("Result")
Element = TypeVar("Element")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A step that sends a request. Its result is a `Response`."""

    method: str
    #: The path, or in a step the whole URL.
    url: str
    #: Query parameters; a parameter that is None is not sent.
    params: Mapping[str, Any] | None = None
    #: The value of a JSON body; None: no body.
    body: Any = None
    #: The encoded body.
    content: bytes | None = None
    headers: Mapping[str, str] | None = None
    #: Timeout of each read in seconds; None: the client's.
    read_seconds: float | None = None
    #: Leave the body of a successful response unread, for `Chunk`.
    is_stream: bool = False
    #: Max bytes of a chunk; None: all bytes that have arrived.
    chunk_bytes: int | None = None
    #: False: a repetition would have another effect, so it is sent once.
    is_idempotent: bool = True


@dataclass(frozen=True, kw_only=True)
class Response:
    """The response to a request."""

    status: int
    reason: str
    headers: Mapping[str, str]
    #: The body; b"" of a stream.
    content: bytes
    #: The sender's iterator over a stream.
    chunks: Any = None

    def json(self) -> Any:
        """Return the value of the JSON body. Raises `ValueError`."""
        return json.loads(self.content)


@dataclass(frozen=True)
class Sleep:
    """A step that waits."""

    seconds: float


@dataclass(frozen=True)
class Chunk:
    """A step that reads a stream. Its result is the next bytes; b"" at the end."""

    response: Response


@dataclass(frozen=True)
class Item(Generic[Element]):
    """A step that passes an element of a list to the caller."""

    value: Element


class ConnectionFailed(Exception):
    """A step received no response, or a broken one. Its string is the reason."""


Step = Request | Sleep | Chunk
#: A call with one result.
Flow = Generator[Step, Any, Result]
#: A call that yields elements.
Listing = Generator[Step | Item[Element], Any, None]


class Blocking:
    """The mode of `Client`."""


class Awaited:
    """The mode of `AsyncClient`."""


Mode = TypeVar("Mode")


class Sender(Protocol):
    """Executes calls. It sends nothing until `start` makes the call."""

    def run(self, start: Callable[[], Flow[Any]]) -> Any:
        """Return the result of a call, or an awaitable of it."""

    def iterate(self, start: Callable[[], Listing[Any]]) -> Any:
        """Return the elements of a call as an iterator or an async iterator."""


class Resource(Generic[Mode]):
    """The calls about one kind of record. Every method raises the `ApiError` of the response's status."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender


class call(Generic[Given, Result]):
    """A method with one result; of an `AsyncClient` it is awaited."""

    def __init__(self, function: Callable[Concatenate[Any, Given], Flow[Result]]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, resource: Resource[Blocking], owner: Any) -> Callable[Given, Result]: ...
    @overload
    def __get__(self, resource: Resource[Awaited], owner: Any) -> Callable[Given, Awaitable[Result]]: ...
    def __get__(self, resource: Any, owner: Any) -> Any:
        if resource is None:
            return self
        return _method(self._function, resource, resource._sender.run)


class listing(Generic[Given, Element]):
    """A method that returns an iterator, which fetches further pages itself; of an `AsyncClient` an async iterator."""

    def __init__(self, function: Callable[Concatenate[Any, Given], Listing[Element]]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, resource: Resource[Blocking], owner: Any) -> Callable[Given, Iterator[Element]]: ...
    @overload
    def __get__(self, resource: Resource[Awaited], owner: Any) -> Callable[Given, AsyncIterator[Element]]: ...
    def __get__(self, resource: Any, owner: Any) -> Any:
        if resource is None:
            return self
        return _method(self._function, resource, resource._sender.iterate)


def _method(function: Callable[..., Any], resource: Any, execute: Callable[[Callable[[], Any]], Any]) -> Any:
    def method(*args: Any, **kwargs: Any) -> Any:
        return execute(partial(function, resource, *args, **kwargs))

    return update_wrapper(method, MethodType(function, resource))
