"""Failures: every one in the contract's shape, at every status."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from ava.api.http.context import context, request_id
from ava.api.http.responses import as_json
from ava.errors import DatabaseUnavailable, RequestError

__all__ = ["CODES", "RETRY_AFTER_SECONDS", "error_text", "install"]

_log = logging.getLogger(__name__)

#: The contract's code for each status that has one of its own; any other failure of a request is a `bad_request`.
CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "resource_not_found",
    405: "method_not_allowed",
    409: "resource_conflict",
    413: "payload_too_large",
    415: "unsupported_media_type",
    422: "validation_error",
    429: "rate_limited",
    500: "internal_error",
    503: "unavailable",
}

#: Seconds after which an answer of 503 invites the caller again.
RETRY_AFTER_SECONDS = 2


def install(app: Flask) -> None:
    """Answer every failure of an application."""
    app.register_error_handler(RequestError, _of_ours)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, _unforeseen)


def error_text(
    code: str, message: str, *, request_id: str, docs_url: str, fields: Mapping[str, object] | None = None
) -> str:
    """The JSON text of a failure."""
    error: dict[str, object] = {
        "code": code,
        "message": message,
        "request_id": request_id,
        "docs_url": f"{docs_url}#{code}",
    }
    if fields:
        error["fields"] = fields
    return json.dumps({"error": error}, separators=(",", ":")) + "\n"


def _answer(status: int, code: str, message: str, fields: Mapping[str, object] | None = None) -> Response:
    docs_url = context().settings.docs_url
    text = error_text(code, message, request_id=request_id(), docs_url=docs_url, fields=fields)
    return as_json(text, status)


def _of_ours(error: RequestError) -> Response:
    answer = _answer(error.status, error.code, str(error), error.fields)
    if error.status == DatabaseUnavailable.status:
        _log.warning("%s", error, extra={"request_id": request_id()}, exc_info=error.__cause__)
        answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer


def _of_http(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:
        # A redirect that werkzeug thought of: no route of ours has a second address.
        status = 404
    answer = _answer(status, CODES.get(status, "bad_request"), _sentence(status, error))
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        answer.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return answer


def _sentence(status: int, error: HTTPException) -> str:
    if status == 404:
        return "There is nothing here: no such route, or no such id in it; /openapi.json lists the routes."
    if isinstance(error, MethodNotAllowed):
        return f"{request.method} is not allowed here; use {' or '.join(sorted(error.valid_methods or ()))}."
    return error.description or error.name


def _unforeseen(error: Exception) -> Response:
    _log.error(
        "A request failed unforeseen: %s %s",
        request.method,
        request.path,
        exc_info=error,
        extra={"request_id": request_id()},
    )
    return _answer(500, CODES[500], "Something went wrong on our side; it was logged under this request's id.")
