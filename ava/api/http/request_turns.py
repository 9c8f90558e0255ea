"""Give requests their turns at `ava.api.gate.request_gate`. Without gevent, as in tests, there are no turns.

Callers with the shared key take their turn before Flask runs, so that a tenant with many requests delays other tenants
as little as possible. Other callers take their turn once they are identified.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, AnyStr

from flask import Flask, current_app, request

from ava.api.http.callers.credentials import is_secret
from ava.api.http.context import caller, tenant_of_request
from ava.domain import ids

if TYPE_CHECKING:
    from ava.api.gate.request_gate import RequestGate

_EXTENSION = "ava_request_gate"
#: The key of a request's turn in its WSGI environment.
_TURN = "ava.turn"


def install(app: Flask, secrets: Iterable[str]) -> None:
    """Install the turns; call it after installing the hooks that identify callers and refuse requests."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return
    # Imported here, because it loads gevent.
    from ava.api.gate.request_gate import RequestGate

    app.extensions[_EXTENSION] = gate = RequestGate()
    app.wsgi_app = _GateMiddleware(app.wsgi_app, gate, tuple(secrets))  # type: ignore[method-assign]
    app.before_request(take_turn)


class _GateMiddleware:
    """Gives each request a turn, which ends with the response or its first part."""

    def __init__(self, app: Any, gate: RequestGate, secrets: tuple[str, ...]) -> None:
        self._app = app
        self._gate = gate
        self._secrets = secrets

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        environ[_TURN] = turn = _Turn(self._gate)
        if is_secret(environ.get("HTTP_X_INTERNAL_SECRET", ""), self._secrets):
            tenant_id = environ.get("HTTP_X_TENANT_ID", "")
            # A request with an invalid tenant id will be refused.
            if ids.is_client_id("ten", tenant_id):
                turn.begin(tenant_id)
        try:
            return self._app(environ, start_response)
        finally:
            turn.end()


class _Turn:
    """The turn of one request, taken once its tenant is known."""

    def __init__(self, gate: RequestGate) -> None:
        self._gate = gate
        self._tenant_id: str | None = None
        self._end: Callable[[], None] = lambda: None

    def begin(self, tenant_id: str) -> None:
        """Take the turn, unless it is already taken."""
        if self._tenant_id is None:
            self._end = self._gate.begin(tenant_id)
            self._tenant_id = tenant_id

    def end(self) -> str | None:
        """End the turn if it is taken. Returns the tenant, or None."""
        tenant_id, self._tenant_id = self._tenant_id, None
        if tenant_id is not None:
            self._end()
        return tenant_id


def take_turn() -> None:
    """Take the turn of a request if its tenant is known."""
    turn: _Turn | None = request.environ.get(_TURN)
    if turn is not None and (tenant_id := tenant_of_request()) is not None:
        turn.begin(tenant_id)


@contextmanager
def suspended() -> Iterator[None]:
    """Let the tenant's other requests run during a long wait, then take a turn again."""
    turn: _Turn | None = request.environ.get(_TURN)
    tenant_id = None if turn is None else turn.end()
    yield
    if turn is not None and tenant_id is not None:
        turn.begin(tenant_id)


def part_by_part(parts: Generator[AnyStr]) -> Generator[AnyStr]:
    """Return the parts of a streamed response; each takes its own turn, because the request has ended by then."""
    gate: RequestGate | None = current_app.extensions.get(_EXTENSION)
    return parts if gate is None else _in_turns(parts, _Turn(gate), caller().tenant_id)


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
