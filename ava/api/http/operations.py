"""Operations: what a route takes and gives, declared once; it is checked here and described in /openapi.json."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from flask import Response
from marshmallow import Schema

from ava.api.http import body as bodies
from ava.api.http.context import caller
from ava.api.http.parsing import load_body, load_key, load_query
from ava.api.schemas.requests import NoParameters
from ava.errors import Forbidden

__all__ = ["Operation", "find_operation", "operation"]

View = Callable[..., Response]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One route and method, as its clients need to know it."""

    #: A few words, as in "Trigger a job".
    summary: str
    description: str = ""
    #: Its query parameters; the view gets them loaded, as `query`.
    query: Schema = field(default_factory=NoParameters)
    #: Its body; the view gets it loaded, as `body`.
    body: Schema | None = None
    #: Whether it may be called without a body.
    may_be_empty: bool = False
    #: The bytes that its body may have.
    most_bytes: int = bodies.MOST_BYTES
    #: What stands in `data` of its answer.
    answer: Schema | None = None
    #: Whether `data` is a list of `answer`.
    is_list: bool = False
    status: int = 200
    #: What its answer is, where it is not JSON.
    media_type: str = "application/json"
    #: The failures that it has beside those that every operation has.
    failures: tuple[int, ...] = ()
    #: Whether it needs the role of a writer.
    is_write: bool = False
    #: Whether it takes an Idempotency-Key; the view gets it as `key`, None where none was sent.
    takes_key: bool = False
    #: Whether its answer may have a validator, so that 304 is an answer too.
    may_be_unchanged: bool = False


def operation(**declared: Any) -> Callable[[View], View]:
    """Declare a view's operation: its caller's role, parameters and body are checked before it runs."""
    declaration = Operation(**declared)

    def declare(view: View) -> View:
        @wraps(view)
        def run(**arguments: Any) -> Response:
            if declaration.is_write and not caller().may_write:
                raise Forbidden
            query = load_query(declaration.query)
            if declaration.query.fields:
                arguments["query"] = query
            if declaration.body is not None:
                arguments["body"] = load_body(
                    declaration.body, most_bytes=declaration.most_bytes, may_be_empty=declaration.may_be_empty
                )
            if declaration.takes_key:
                arguments["key"] = load_key()
            return view(**arguments)

        run.operation = declaration  # type: ignore[attr-defined]
        return run

    return declare


def find_operation(view: Callable[..., Any]) -> Operation | None:
    """What was declared of a view; None where nothing was."""
    return getattr(view, "operation", None)
