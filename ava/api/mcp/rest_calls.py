"""Call this application's REST routes in this process, with the headers of the current request."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from flask import current_app, g, request

from ava.api.http import offload
from ava.api.http.context import request_id
from ava.api.mcp.rpc_messages import INTERNAL_ERROR, RpcError
from ava.domain.strings import storable
from ava.error_codes import ErrorCode
from ava.errors import AvaError

Result = TypeVar("Result")

#: Headers that apply only to the MCP request: its identity, and the format of its response.
_NOT_TAKEN_ALONG = (
    *("HTTP_ACCEPT_ENCODING", "HTTP_IDEMPOTENCY_KEY", "HTTP_IF_NONE_MATCH", "HTTP_ORIGIN", "HTTP_TRANSFER_ENCODING"),
    *("HTTP_LAST_EVENT_ID", "HTTP_RANGE", "wsgi.input_terminated", "werkzeug.request", "werkzeug.socket"),
)
#: The end of a message that counts more invalid fields; here each of them gets its own line.
_MORE = re.compile(r" \(\d+ more in fields\)$")
_FORWARDED = ("Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
#: The WSGI environment's key for the name of the calling tool or method, which the audit trail stores.
TOOL = "ava.mcp_tool"


class Refused(AvaError):
    """A route refused a request that its caller can correct."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class RestResponse:
    """The response of a route."""

    data: Any
    #: The cursors of a list; empty for other responses.
    pagination: Mapping[str, Any]


def name_source(name: str) -> None:
    """Record the tool or method that makes the requests, for the audit trail."""
    g.mcp_source = storable(name, 100)


def has_asked() -> bool:
    """Return True if the current request has called a route, which counts for the caller's rate limit."""
    return bool(g.get("mcp_has_asked"))


def record_size(size: int) -> None:
    """Record the size in bytes of a value that the current request parses or serializes."""
    if size > offload.LARGE_BYTES:
        g.mcp_is_large = True


def outside_loop(work: Callable[[], Result]) -> Result:
    """Return the result of `work`, which runs in another thread if the current request has recorded a large value."""
    return offload.run(work) if g.get("mcp_is_large") else work()


def ask(
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    traceparent: str | None = None,
    takes_key: bool = False,
) -> RestResponse:
    """Call a route and return its response. `takes_key` passes on the Idempotency-Key of the current request.

    Raises `RpcError` for 401, 429 and 5xx, where a retry or another key may help, and `Refused` for other errors.
    """
    g.mcp_has_asked = True
    raw = b"" if body is None else outside_loop(lambda: json.dumps(body, separators=(",", ":")).encode())
    environ = {name: value for name, value in request.environ.items() if name not in _NOT_TAKEN_ALONG}
    environ |= {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "RAW_URI": path,
        "REQUEST_URI": path,
        "QUERY_STRING": urlencode(query or {}),
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(raw)),
        "HTTP_X_REQUEST_ID": request_id(),
        "wsgi.input": io.BytesIO(raw),
        TOOL: g.get("mcp_source", ""),
    }
    if takes_key and (key := request.headers.get("idempotency-key")) is not None:
        environ["HTTP_IDEMPOTENCY_KEY"] = key
    if traceparent is not None:
        environ["HTTP_TRACEPARENT"] = traceparent
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    # A new application context, because Flask would otherwise share `g` with the current request.
    with app.app_context(), app.request_context(environ):
        response = app.full_dispatch_request()
        try:
            status, content = response.status_code, response.get_data(as_text=True)
            forwarded = {name: response.headers[name] for name in _FORWARDED if name in response.headers}
        finally:
            response.close()
    g.mcp_headers = forwarded
    record_size(len(content))
    parsed = outside_loop(lambda: json.loads(content))
    if status < 400:
        return RestResponse(data=parsed["data"], pagination=parsed.get("pagination", {}))
    raise _failure(status, parsed["error"], forwarded)


def _failure(status: int, error: Mapping[str, Any], headers: Mapping[str, str]) -> AvaError:
    message = str(error["message"])
    if status in (401, 429) or status >= 500:
        code = INTERNAL_ERROR if error["code"] == ErrorCode.INTERNAL_ERROR else status
        data = {name: error[name] for name in ("code", "request_id", "docs_url") if name in error}
        return RpcError(code, message, status=status, data=data, headers=headers)
    return Refused("\n".join([_MORE.sub("", message), *_unnamed(error.get("fields", {}), message)]), status=status)


def _unnamed(fields: Mapping[str, Any], message: str) -> list[str]:
    """Return a line for each field error that `message` does not contain. A model reads the message and no fields."""
    found = [(name, messages if isinstance(messages, list) else [messages]) for name, messages in fields.items()]
    lines = [f"{name}: {fault}" for name, messages in found for fault in messages]
    return [line for line in lines if not message.startswith(line)]
