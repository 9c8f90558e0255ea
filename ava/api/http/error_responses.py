"""Failures: all have the contract's JSON, whatever their status."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from ava.api.http.client_addresses import docs_url, logged_path
from ava.api.http.context import request_id, this_request
from ava.api.http.responses import as_json
from ava.error_codes import ErrorCode, code_of
from ava.errors import RequestError, TooMany

_log = logging.getLogger(__name__)

#: Retry-After, in seconds, of a 503 response.
RETRY_AFTER_SECONDS = 2


def install(app: Flask) -> None:
    app.register_error_handler(RequestError, _handle_request_error)
    app.register_error_handler(HTTPException, _handle_http_exception)
    app.register_error_handler(Exception, _handle_unexpected)


def error_body(
    code: ErrorCode,
    message: str,
    *,
    request_id: str,
    docs_url: str,
    fields: Mapping[str, object] | None = None,
    containment_id: str | None = None,
) -> str:
    error: dict[str, object] = {
        "code": code,
        "message": message,
        "request_id": request_id,
        "docs_url": f"{docs_url}#{code}",
    }
    if fields:
        error["fields"] = fields
    if containment_id is not None:
        error["containment_id"] = containment_id
    return json.dumps({"error": error}, separators=(",", ":")) + "\n"


def _failure(status: int, code: ErrorCode, message: str, **more: Any) -> Response:
    body = error_body(code, message, request_id=request_id(), docs_url=docs_url(), **more)
    return as_json(body, status)


def _handle_request_error(error: RequestError) -> Response:
    response = _failure(
        error.status, error.code, str(error), fields=error.fields, containment_id=getattr(error, "containment_id", None)
    )
    if error.code is ErrorCode.UNAVAILABLE:
        # Without a traceback, because an outage fails many requests the same way.
        reason = None if error.__cause__ is None else " ".join(str(error.__cause__).split())
        _log.warning("%s", error, extra={"request_id": request_id(), "reason": reason})
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    elif isinstance(error, TooMany):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def _handle_http_exception(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:
        # Werkzeug proposes a redirect, but each route has only one URL.
        status = 404
    response = _failure(status, code_of(status), _message(status, error))
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _message(status: int, error: HTTPException) -> str:
    if status == 404:
        return "Not found: there is no such route, or no object with this id; /openapi.json lists the routes."
    if isinstance(error, MethodNotAllowed):
        return f"{request.method} is not allowed here; use {' or '.join(sorted(error.valid_methods or ()))}."
    return error.description or error.name


def _handle_unexpected(error: Exception) -> Response:
    return _failure(500, ErrorCode.INTERNAL_ERROR, log_unexpected(error))


def log_unexpected(error: Exception) -> str:
    """Log an internal error. Returns the response to its client."""
    _log.error(
        "Request failed with an unexpected error: %s %s",
        request.method,
        logged_path(this_request()),
        exc_info=error,
        extra={"request_id": request_id()},
    )
    return "Internal error; the server's log has the details under this request's id."
