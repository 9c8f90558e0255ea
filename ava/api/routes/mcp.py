"""`POST /mcp`: the Model Context Protocol, over Streamable HTTP without sessions.

It is not in /openapi.json, because its requests and errors are JSON-RPC, which the protocol itself describes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, g, request
from werkzeug.exceptions import HTTPException

from ava.api.http import rate_limits, responses
from ava.api.http.client_addresses import docs_url
from ava.api.http.context import context, request_id
from ava.api.http.error_responses import RETRY_AFTER_SECONDS, log_unexpected
from ava.api.mcp import methods, rest_calls, rpc_messages
from ava.api.mcp.rpc_messages import INTERNAL_ERROR, PARSE_ERROR, RpcError
from ava.error_codes import ErrorCode, code_of
from ava.errors import BadRequest, Forbidden, RequestError, TooMany
from ava.services.sign_in import METADATA

blueprint = Blueprint("mcp", __name__)

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@blueprint.post("/mcp")
def serve() -> Response:
    """Answer one message."""
    _check_origin()
    try:
        message = rpc_messages.read()
        if message.is_notification:
            rate_limits.count()
            return Response(status=202)
        result = methods.respond(message)
    except (RpcError, RequestError) as error:
        if not rest_calls.has_asked() and not isinstance(error, TooMany):
            rate_limits.count()
        raise error
    envelope = {"jsonrpc": "2.0", "id": message.id, "result": result}
    body = rest_calls.outside_loop(lambda: json.dumps(envelope, separators=(",", ":")))
    response = responses.as_json(f"{body}\n")
    response.headers.update(g.get("mcp_headers", {}))
    return responses.with_share(response, is_write=message.method == "tools/call")


def _check_origin() -> None:
    """Raise `Forbidden` if a page of another origin sent the request."""
    origin, settings = request.headers.get("origin"), context().settings
    if origin is None or origin == settings.public_url or {origin, "*"} & set(settings.cors_origins):
        return
    try:
        host = urlsplit(origin).hostname
    except ValueError:
        host = None
    if host not in _LOOPBACK:
        raise Forbidden("Pages of this origin may not call the API; add the origin to AVA_CORS_ORIGINS to allow it.")


@blueprint.errorhandler(RpcError)
def _refuse(error: RpcError) -> Response:
    # Before the current revision, every JSON-RPC error had the status 200.
    is_legacy = rpc_messages.is_of_legacy_client() and error.code < 0
    return _failure(200 if is_legacy else error.status, error.code, str(error), error.data, error.headers)


@blueprint.errorhandler(RequestError)
def _refuse_request(error: RequestError) -> Response:
    headers = {}
    if isinstance(error, TooMany):
        headers["Retry-After"] = str(error.retry_after_seconds)
    elif error.code is ErrorCode.UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    code = PARSE_ERROR if isinstance(error, BadRequest) else error.status
    return _failure(error.status, code, str(error), _data(error.code, error.fields), headers)


@blueprint.errorhandler(HTTPException)
def _refuse_http(error: HTTPException) -> Response:
    status = error.code or 500
    message = error.description or error.name
    return _failure(status, status, message, _data(code_of(status)), {})


@blueprint.errorhandler(Exception)
def _refuse_unexpected(error: Exception) -> Response:
    message = log_unexpected(error)
    return _failure(500, INTERNAL_ERROR, message, _data(ErrorCode.INTERNAL_ERROR), {})


def _data(code: ErrorCode, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the data of a route's error, in addition to its message."""
    data: dict[str, Any] = {"code": code, "request_id": request_id(), "docs_url": f"{docs_url()}#{code}"}
    return data | ({"fields": fields} if fields else {})


def _failure(
    status: int, code: int, message: str, data: Mapping[str, Any] | None, headers: Mapping[str, str]
) -> Response:
    error: dict[str, Any] = {"code": code, "message": message}
    envelope: dict[str, Any] = {"jsonrpc": "2.0"}
    if (id_ := rpc_messages.id_of_request()) is not None:
        envelope["id"] = id_
    envelope["error"] = error if data is None else {**error, "data": data}
    response = responses.as_json(json.dumps(envelope, separators=(",", ":")) + "\n", status)
    response.headers.update({**g.get("mcp_headers", {}), **headers})
    if status == 401:
        response.headers["WWW-Authenticate"] = _challenge()
    return response


def _challenge() -> str:
    """Return the challenge of a 401, which leads a client to the identity provider if there is one."""
    found = context()
    return f'Bearer resource_metadata="{found.settings.public_url}{METADATA}"' if found.sign_in else "Bearer"
