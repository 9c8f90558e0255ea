"""`/oidc`: sign-in by the identity provider in a browser, and the provider's logout. Without a provider each is 404.

They are not in /openapi.json, because a browser and the provider call them by the rules of OpenID Connect.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs

from flask import Blueprint, Response, after_this_request, g, request

from ava.api.http import body, responses
from ava.api.http.callers.auth import open_to_all
from ava.api.http.client_addresses import client_address
from ava.api.http.context import context
from ava.api.routes.sessions import set_cookie
from ava.domain.access.sign_in import PENDING_SECONDS, cookie_name
from ava.domain.limits.table import HOOK_BODY_BYTES
from ava.errors import BadRequest, NotFound, SignInRefused, Unauthorized
from ava.services.sign_in import CALLBACK, METADATA, ProviderResponse, SignIn

blueprint = Blueprint("oidc", __name__)

_MAX_FIELDS = 20


@blueprint.get("/oidc/sign-in")
@open_to_all
def begin() -> Response:
    """Send the browser to the provider."""
    path = request.args.get("next", "/")
    with _counting_refusals():
        url, cookie = _sign_in().begin(path, is_step_up=request.args.get("step_up") == "true")
    response = _redirect(url)
    # Lax, because the provider's site sends the browser back.
    response.set_cookie(
        _pending_name(), cookie, max_age=PENDING_SECONDS, path="/", secure=_is_secure(), httponly=True, samesite="Lax"
    )
    return response


@blueprint.get(CALLBACK)
@open_to_all
def finish() -> Response:
    """Start the session of a browser that returns from the provider."""
    sign_in = _sign_in()
    after_this_request(_drop_pending)
    given = ProviderResponse(
        **{field: request.args.get(name, "") for field, name in (("state", "state"), ("code", "code"))},
        issuer=request.args.get("iss", ""),
        error=request.args.get("error", ""),
    )
    with _counting_refusals():
        if not (cookie := request.cookies.get(_pending_name())):
            raise SignInRefused
        use, path = sign_in.finish(cookie, given)
    g.caller = use.caller
    response = _redirect(f"{context().settings.public_url}{path}")
    set_cookie(response, use)
    return response


@blueprint.post("/oidc/logout")
@open_to_all
def log_out() -> Response:
    """End the sessions that the provider's logout token names (OpenID Connect Back-Channel Logout)."""
    sign_in = _sign_in()
    with _counting_refusals():
        try:
            fields = parse_qs(body.raw_bytes(HOOK_BODY_BYTES).decode(), max_num_fields=_MAX_FIELDS)
        except ValueError:
            fields = {}
        if len(given := fields.get("logout_token", [])) != 1:
            raise BadRequest("The body must be a form with one logout_token.")
        sign_in.log_out(given[0])
    return Response(status=200)


@blueprint.get(METADATA)
@open_to_all
def describe_resource() -> Response:
    """Name the provider of accepted tokens (RFC 9728)."""
    described = {
        "resource": context().settings.public_url,
        "authorization_servers": [_sign_in().issuer],
        "bearer_methods_supported": ["header"],
        "resource_name": "AVA Jobs",
    }
    return responses.as_json(json.dumps(described))


def _sign_in() -> SignIn:
    if (found := context().sign_in) is None:
        raise NotFound("No identity provider is configured (AVA_OIDC_ISSUER).")
    return found


@contextmanager
def _counting_refusals() -> Iterator[None]:
    """Count a refused request for its address, because each may cost a call to the provider."""
    gate, address = context().hook_gate, client_address()
    gate.refuse_spent_address(address)
    try:
        yield
    except (Unauthorized, BadRequest):
        gate.admit_address(address)
        raise


def _redirect(url: str) -> Response:
    return Response(status=303, headers={"Location": url, "Referrer-Policy": "no-referrer"})


def _is_secure() -> bool:
    return context().settings.public_url.startswith("https://")


def _pending_name() -> str:
    """Return the name of the cookie that binds a sign-in to this browser. `__Host-`: no sister domain can set it."""
    return f"{'__Host-' if _is_secure() else ''}{cookie_name(request.host)}_sign_in"


def _drop_pending(response: Response) -> Response:
    response.delete_cookie(_pending_name(), path="/", secure=_is_secure(), httponly=True, samesite="Lax")
    return response
