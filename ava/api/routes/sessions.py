"""`/v1/ava/session`: sessions of the dashboard, identified by a cookie."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

from flask import Blueprint, Response, g, request

from ava.api.http import responses
from ava.api.http.callers.session import current_session
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.strict import NoBody
from ava.api.schemas.keys import (
    EndedSessionsRecord,
    LinkRecord,
    SessionBody,
    SessionRecord,
    write_ended,
    write_link,
    write_session,
)
from ava.domain.access.actor import Via
from ava.domain.access.sign_in import EndedSessions, Identity, SignInLink, TenantRole, cookie_name
from ava.errors import SessionNested
from ava.services.sessions import SessionUse

blueprint = Blueprint("sessions", __name__, url_prefix="/v1/ava")


@blueprint.post("/session")
@operation(
    summary="Start a session",
    call=None,
    description="Creates a session of 12 hours for the caller, identified by the four headers, an API key, or a link "
    "as `Authorization: Link <token>`. The response sets the session cookie. Read requests need only the cookie; "
    "write requests also need `x-tenant-id`. A session ends with the API key that started it.",
    body=NoBody(),
    may_be_empty=True,
    record=SessionRecord(),
    status=201,
    failures=(409, 413, 415, 422),
    is_audited=True,
)
def start() -> Response:
    _refuse_nested()
    return _with_cookie(context().sessions.start(caller()), 201)


@blueprint.get("/session")
@operation(
    summary="Show the caller",
    call=None,
    description="The identity of the request, its tenant and role, and the other tenants of a session.",
    record=SessionRecord(),
)
def show() -> Response:
    return responses.data(_identity(g.get("session_use")))


@blueprint.patch("/session")
@operation(
    summary="Switch the session's tenant",
    call=None,
    description="For roles of the platform, and people whom the identity provider gives several tenants. The new "
    "cookie selects the tenant for requests that cannot name one in `x-tenant-id`, such as downloads and streams.",
    body=SessionBody(),
    body_as="tenant_id",
    record=SessionRecord(),
    failures=(409, 413, 415, 422),
    is_audited=True,
)
def change(tenant_id: str) -> Response:
    return _with_cookie(current_session().at(tenant_id), 200)


@blueprint.delete("/session")
@operation(
    summary="End the session",
    call=None,
    description="Signs out. Every process refuses the cookie within 2 seconds. At `sign_out_url` the browser also "
    "signs out of the identity provider.",
    record=SessionRecord(),
    failures=(409,),
    is_audited=True,
)
def end() -> Response:
    use, sign_in = current_session(), context().sign_in
    context().sessions.end(use.session)
    url = sign_in.sign_out_url if sign_in is not None and use.session.provider is not None else None
    response = responses.data(_identity(use, ended_at=datetime.now(UTC), sign_out_url=url))
    response.delete_cookie(cookie_name(request.host), path="/", httponly=True, samesite="Strict")
    return response


@blueprint.delete("/sessions")
@operation(
    summary="End a user's sessions",
    call=PublicCall(
        method="sessions.end",
        command="sessions delete",
        help="End all sessions of your user in the tenant, and make its unused links invalid.",
    ),
    description="Ends every session of the caller's API key, or of its user, in its tenant, and invalidates their "
    "unused links.",
    record=EndedSessionsRecord(),
    is_audited=True,
)
def end_all() -> Response:
    return responses.data(write_ended(EndedSessions(ended=context().sessions.end_all(caller()))))


@blueprint.post("/session/links")
@operation(
    summary="Create a sign-in link",
    call=PublicCall(
        method="sessions.create_link",
        command="dashboard",
        help="Print a link that signs in to the dashboard, once and within 10 minutes.",
    ),
    description="The link works once, within 10 minutes: it signs in to the dashboard as the caller. Append `path` "
    "to the address of the API.",
    body=NoBody(),
    may_be_empty=True,
    record=LinkRecord(),
    status=201,
    failures=(409, 413, 415, 422),
    is_audited=True,
)
def make_link() -> Response:
    _refuse_nested()
    link, token = context().sessions.make_link(caller())
    shown = SignInLink(path=f"/#/signin?link={token}", expires_at=link.expires_at)
    return responses.data(write_link(shown), 201)


def _refuse_nested() -> None:
    """Raise `SessionNested` in a session, which could otherwise renew itself for ever, and for a provider's token."""
    if g.get("session_use") is not None or caller().sign_in is not None:
        raise SessionNested


def _with_cookie(use: SessionUse, status: int) -> Response:
    response = responses.data(_identity(use), status)
    set_cookie(response, use)
    return response


def set_cookie(response: Response, use: SessionUse) -> None:
    """Give the browser the cookie of a session."""
    response.set_cookie(
        cookie_name(request.host),
        context().sessions.cookie_of(use),
        expires=use.session.ends_at,
        path="/",
        secure=request.is_secure or context().settings.public_url.startswith("https://"),
        httponly=True,
        samesite="Strict",
    )


def _identity(use: SessionUse | None, *, ended_at: datetime | None = None, sign_out_url: str | None = None) -> str:
    """Return the record of a session's user, or of the caller without a session."""
    who = caller() if use is None else replace(use.caller, sees_payloads=caller().sees_payloads)
    provider = None if use is None else use.session.provider
    roles = {who.tenant_id: who.role} if use is None else use.roles
    return write_session(
        Identity(
            tenant_id=who.tenant_id,
            user_id=who.user_id,
            role=who.role,
            expires_at=ended_at or (None if use is None else use.session.ends_at),
            payloads=who.sees_payloads,
            via=cast("Via", who.actor.via),
            name=None if provider is None else provider.name,
            tenants=[TenantRole(tenant_id=each, role=role) for each, role in sorted(roles.items())],
            sign_out_url=sign_out_url,
        )
    )
