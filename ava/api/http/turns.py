"""The turn of a request: see `ava.api.request_turns`. Without gevent, as in tests, requests take no turns.

Callers with the shared key take their turn before Flask does anything, so that many requests of one tenant delay those
of others as little as possible. Other callers take it as soon as they are identified.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, AnyStr

from flask import Flask, current_app, g, request

from ava.api.http.caller_headers import is_secret
from ava.api.http.context import caller, tenant_of_request
from ava.domain import ids
from ava.store.engine import timeouts

if TYPE_CHECKING:
    from ava.api.request_turns import RequestTurns

__all__ = ["begin_large", "end_large", "install", "part_by_part", "suspended"]

_EXTENSION = "ava_turns"
#: Where the WSGI environment of a request holds its turn.
_TURN = "ava.turn"


def install(app: Flask, secrets: Iterable[str]) -> None:
    """Let requests take turns; to be called after the hooks that identify callers and refuse requests are installed."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return
    # Imported here, because it loads gevent.
    from ava.api.request_turns import RequestTurns

    app.extensions[_EXTENSION] = turns = RequestTurns()
    # Again, because the worker has installed them before there were turns.
    timeouts.install_for_greenlets(turns.goes_first)
    app.wsgi_app = _TurnMiddleware(app.wsgi_app, turns, tuple(secrets))  # type: ignore[method-assign]
    app.before_request(_begin)


class _TurnMiddleware:
    """Gives each request a turn, and ends it when the response, or its first part, is made."""

    def __init__(self, app: Any, turns: RequestTurns, secrets: tuple[str, ...]) -> None:
        self._app = app
        self._turns = turns
        self._secrets = secrets

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Serve a request."""
        environ[_TURN] = turn = _Turn(self._turns)
        if is_secret(environ.get("HTTP_X_INTERNAL_SECRET", ""), self._secrets):
            tenant_id = environ.get("HTTP_X_TENANT_ID", "")
            # The request of another id will be refused.
            if ids.is_client_id("ten", tenant_id):
                turn.begin(tenant_id)
        try:
            return self._app(environ, start_response)
        finally:
            turn.end()


class _Turn:
    """The turn of one request, once its tenant is known."""

    def __init__(self, turns: RequestTurns) -> None:
        self._turns = turns
        self._tenant_id: str | None = None
        self._end: Callable[[], None] = lambda: None

    def begin(self, tenant_id: str) -> None:
        """Take the turn, unless it is taken already."""
        if self._tenant_id is None:
            self._end = self._turns.begin(tenant_id)
            self._tenant_id = tenant_id

    def end(self) -> str | None:
        """End the turn if it is taken. Returns the tenant."""
        tenant_id, self._tenant_id = self._tenant_id, None
        if tenant_id is not None:
            self._end()
        return tenant_id


def _begin() -> None:
    if (tenant_id := tenant_of_request()) is not None:
        request.environ[_TURN].begin(tenant_id)


@contextmanager
def suspended() -> Iterator[None]:
    """Leave the loop to the tenant's other requests during a long wait, and take a turn again after it."""
    turn: _Turn | None = request.environ.get(_TURN)
    tenant_id = None if turn is None else turn.end()
    yield
    if turn is not None and tenant_id is not None:
        turn.begin(tenant_id)


def begin_large(release: Callable[[], None]) -> None:
    """Begin a request with a large body. `end_large` calls `release`, after a pause if processors are short."""
    turns = _turns_of_process()
    g.end_large_request = release if turns is None else turns.begin_large(release)


def end_large() -> None:
    """Let the tenant's next large body go on, because this request is over."""
    if (end := g.pop("end_large_request", None)) is not None:
        end()


def part_by_part(parts: Generator[AnyStr]) -> Generator[AnyStr]:
    """Returns the parts of a long response; each takes a turn of its own, because the request is over by then."""
    turns = _turns_of_process()
    return parts if turns is None else _in_turns(parts, _Turn(turns), caller().tenant_id)


def _turns_of_process() -> RequestTurns | None:
    turns: RequestTurns | None = current_app.extensions.get(_EXTENSION)
    return turns


def _in_turns(parts: Generator[AnyStr], turn: _Turn, tenant_id: str) -> Generator[AnyStr]:
    try:
        while True:
            turn.begin(tenant_id)
            try:
                part = next(parts, None)
            finally:
                turn.end()
            if part is None:
                return
            yield part
    finally:
        parts.close()
