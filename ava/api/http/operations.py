"""Operations: the declared parameters and response of a route, checked here and described in /openapi.json.

If DATABASE_READ_URL names a standby, operations that only read run there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any

from flask import Response, g
from marshmallow import Schema

from ava.api.http import payloads, responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.parsing import load_body, load_durability, load_key, load_query
from ava.api.http.strict import DryRunQuery, NoParameters
from ava.domain.limits import table as limits
from ava.domain.limits.limit import Limit
from ava.errors import ConnectionsBusy, DatabaseUnavailable, Forbidden, OperatorsOnly, StatementTimeout
from ava.process.pauses import Pauses
from ava.store.engine.database import dry_run
from ava.store.engine.standby import DatabaseWithStandby, StandbyRead

View = Callable[..., Response]

NDJSON = "application/x-ndjson"
#: Header with the replication lag, in milliseconds, of the standby that was read.
LAG_HEADER = "Ava-Replica-Lag-Ms"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """The contract of one route and method."""

    #: A verb and a noun, as in "Trigger a job". The `operationId` follows: `trigger_job`.
    summary: str
    description: str = ""
    #: How people call it. None: only programs do, such as workers and the dashboard.
    call: PublicCall | None = field(default_factory=PublicCall)
    query: Schema = field(default_factory=NoParameters)
    #: The name of the view's argument that gets the loaded query; no argument if the schema has no fields.
    query_as: str = "query"
    body: Schema | None = None
    #: The name of the view's argument that gets the loaded body; no argument if the schema has no fields.
    body_as: str = "body"
    may_be_empty: bool = False
    #: Reads a body of another media type; returns None if the request's type is not in `other_media`.
    other_body: Callable[[], Any] | None = None
    #: The media types that `other_body` reads, each with an example for the description.
    other_media: Mapping[str, Any] = field(default_factory=dict)
    max_bytes: Limit = limits.BODY_BYTES
    #: The schema of the response's `data`, or of each item if it is a list.
    record: Schema | None = None
    #: Whether `data` is a paged list of `record`.
    is_list: bool = False
    #: Whether `data` is a short list of `record` without pages.
    is_array: bool = False
    status: int = 200
    #: Other success statuses, with the schemas of their `data`.
    other_records: Mapping[int, Schema] = field(default_factory=dict)
    media_type: str = "application/json"
    #: Failure statuses in addition to `ALWAYS`.
    failures: tuple[int, ...] = ()
    #: Whether it requires a role with write access.
    is_write: bool = False
    #: Whether a contained identity may call it: it only cancels, or only creates jobs, which is refused later.
    is_for_contained: bool = False
    #: Whether it creates outgoing requests, which have a separate rate limit.
    is_outgoing: bool = False
    #: Whether it is audited although every role may call it.
    is_audited: bool = False
    is_for_operators: bool = False
    #: Whether its caller must have payload access, because the operation sends payloads or grants access to them.
    needs_payloads: bool = False
    #: Whether it takes an Idempotency-Key; the view gets it as `key`, None if none was sent.
    takes_key: bool = False
    #: Whether it takes `Durability: replicated`; the view gets it as `is_replicated`.
    takes_durability: bool = False
    #: Whether it only reads, and may read from a standby.
    reads_standby: bool = False
    #: Whether the response may have an ETag, so that 304 is possible.
    may_be_unchanged: bool = False


def operation(**declared: Any) -> Callable[[View], View]:
    """Declare a view's operation: the caller's role, the parameters and the body are checked before the view runs."""
    declaration = Operation(**declared)

    def declare(view: View) -> View:
        @wraps(view)
        def run(**arguments: Any) -> Response:
            if declaration.is_write and not caller().may_write:
                raise Forbidden
            if declaration.is_write and not declaration.is_for_contained:
                context().containments.refuse_contained(caller())
            if declaration.is_for_operators and not caller().is_operator:
                raise OperatorsOnly
            if declaration.needs_payloads:
                payloads.require()
            arguments |= _from_query(declaration)
            if declaration.body is not None:
                pauses = Pauses()
                body = _load_body(declaration, declaration.body)
                pauses.after_work()
                if declaration.body.fields:
                    arguments[declaration.body_as] = body
            arguments |= _from_headers(declaration)
            call = partial(view, **arguments)
            return responses.with_share(_respond(declaration, call), is_write=declaration.is_write)

        run.operation = declaration  # type: ignore[attr-defined]
        return run

    return declare


def _from_query(declaration: Operation) -> dict[str, Any]:
    query = load_query(declaration.query)
    if isinstance(declaration.query, DryRunQuery):
        g.is_dry_run = query["dry_run"]
        return {}
    return {declaration.query_as: query} if declaration.query.fields else {}


def _respond(declaration: Operation, call: Callable[[], Response]) -> Response:
    if isinstance(declaration.query, DryRunQuery) and g.is_dry_run:
        with dry_run():
            return call()
    return respond_from_standby(call, context().database) if declaration.reads_standby else call()


def _load_body(declaration: Operation, schema: Schema) -> Any:
    other = None if declaration.other_body is None else declaration.other_body()
    if other is not None:
        return other
    return load_body(schema, max_bytes=declaration.max_bytes, may_be_empty=declaration.may_be_empty)


def described(**declared: Any) -> Callable[[View], View]:
    """Declare the operation of a view that checks its requests itself, because external systems call it."""
    declaration = Operation(**declared)

    def declare(view: View) -> View:
        view.operation = declaration  # type: ignore[attr-defined]
        return view

    return declare


def _from_headers(declaration: Operation) -> dict[str, Any]:
    """Return the view's arguments from headers. Raises `InvalidParameters`."""
    arguments: dict[str, Any] = {}
    if declaration.takes_key:
        arguments["key"] = load_key()
    if declaration.is_write:
        is_replicated = load_durability(is_taken=declaration.takes_durability)
        if declaration.takes_durability:
            arguments["is_replicated"] = is_replicated
    return arguments


def find_operation(view: Callable[..., Any]) -> Operation | None:
    """Return a view's declared operation, or None."""
    return getattr(view, "operation", None)


def respond_from_standby(view: Callable[[], Response], database: object) -> Response:
    """Run a view that only reads on the standby, if there is one; if the standby fails, on the primary."""
    if not isinstance(database, DatabaseWithStandby):
        return view()
    g.standby_read = read = StandbyRead()
    try:
        response = view()
    except (ConnectionsBusy, StatementTimeout):
        raise
    except DatabaseUnavailable:
        if read.lag_seconds is None:
            raise
        database.leave_standby("a statement failed there")
        g.standby_read = None
        return view()
    finally:
        # Greenlets that the request started, such as the writer of the audit trail, may share this `g`.
        g.standby_read = None
    if read.lag_seconds is not None:
        response.headers[LAG_HEADER] = str(round(read.lag_seconds * 1000))
    return response
