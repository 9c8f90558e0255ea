"""Read a client's message, determine its version, and compare it with its headers; MCP's names and errors."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import g, request

from ava.api.http import body, offload
from ava.api.mcp import rest_calls
from ava.domain.client_json import size_of
from ava.domain.limits.table import BODY_BYTES
from ava.errors import AvaError

#: The revision without sessions: each request is self-contained.
VERSION = "2026-07-28"
#: Earlier revisions, which begin with `initialize`.
LEGACY_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
VERSIONS = (VERSION, *LEGACY_VERSIONS)

TASKS = "io.modelcontextprotocol/tasks"
#: Keys of `_meta`.
PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion"
CLIENT_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
SERVER_INFO = "io.modelcontextprotocol/serverInfo"

#: Capabilities that this server offers to every client, without the extension.
CAPABILITIES: Mapping[str, Any] = {"tools": {"listChanged": False}}

#: Codes of JSON-RPC, then of MCP. Our own errors use the HTTP status as their code.
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION = -32020, -32021, -32022


class RpcError(AvaError):
    """A request that gets a JSON-RPC error."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: int = 200,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`status` is the HTTP status."""
        super().__init__(message)
        self.code = code
        self.status = status
        self.data = data
        self.headers = headers or {}


def missing_tasks() -> RpcError:
    """Return the error of a request that requires a client with tasks."""
    return RpcError(
        MISSING_CAPABILITY,
        f"The client must declare the extension {TASKS} in its capabilities in the request.",
        status=400,
        data={"requiredCapabilities": {"extensions": {TASKS: {}}}},
    )


_VERSION_HEADER, _METHOD_HEADER, _NAME_HEADER = "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"
#: The parameter that `Mcp-Name` repeats, by method.
_NAMED_BY = {"tools/call": "name", "tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId"}
#: Max characters of an id, of a method, and of a client's string that an error repeats.
_MAX_ID, _MAX_METHOD, _MAX_SHOWN = 256, 200, 100
_ENCODED = ("=?base64?", "?=")


@dataclass(frozen=True, kw_only=True)
class McpMessage:
    """A request, or a notification (without an id)."""

    id: str | int | None
    method: str
    params: Mapping[str, Any]
    #: Whether the message itself states its version and capabilities; a legacy client states them in `initialize`.
    is_modern: bool

    @property
    def is_notification(self) -> bool:
        """Return True if no response is expected."""
        return self.id is None

    @property
    def knows_tasks(self) -> bool:
        """Return True if the client accepts a task as the result of a call."""
        return self.is_modern and isinstance(_object(self._capabilities.get("extensions")).get(TASKS), dict)

    @property
    def elicitation_modes(self) -> frozenset[str]:
        """Return the modes that the client supports to ask its user: `form`, `url`."""
        found = self._capabilities.get("elicitation")
        return frozenset() if not isinstance(found, dict) else frozenset(found or ("form",))

    @property
    def _capabilities(self) -> Mapping[str, Any]:
        return _object(_object(self.params.get("_meta")).get(CLIENT_CAPABILITIES))

    @property
    def traceparent(self) -> str | None:
        """Return the client's span, or None."""
        found = _object(self.params.get("_meta")).get("traceparent")
        return found if isinstance(found, str) else None

    def string(self, name: str) -> str:
        """Return a parameter that must be a string. Raises `RpcError`."""
        found = self.params.get(name)
        if not isinstance(found, str):
            raise RpcError(INVALID_PARAMS, f"params.{name} must be a string.")
        return found


def read() -> McpMessage:
    """Return the message of this request. Raises `RpcError`, and `RequestError` if its body cannot be read."""
    pieces = body.pieces_of_json(BODY_BYTES)
    rest_calls.record_size(size_of(pieces))
    if size_of(pieces) <= offload.LARGE_BYTES:
        parsed = body.parse(*pieces)
    else:
        parsed = body.outside_loop(partial(body.decode, pieces))
    return _checked(parsed)


def id_of_request() -> str | int | None:
    """Return the id of this request's message; None if it has no valid id."""
    found: str | int | None = g.get("mcp_id")
    return found


def is_of_legacy_client() -> bool:
    """Return True if this request's message was read and its client uses an earlier revision."""
    return bool(g.get("mcp_is_legacy"))


def _checked(parsed: Mapping[str, Any]) -> McpMessage:
    id_ = parsed.get("id")
    if "id" in parsed:
        if not _is_id(id_):
            raise _invalid(f"id must be an integer, or a string of at most {_MAX_ID} characters.")
        g.mcp_id = id_
    method, params = parsed.get("method"), parsed.get("params", {})
    if parsed.get("jsonrpc") != "2.0":
        raise _invalid('jsonrpc must be "2.0".')
    if not isinstance(method, str) or not 0 < len(method) <= _MAX_METHOD:
        raise _invalid(f"method must be a string of 1 to {_MAX_METHOD} characters; responses are not accepted.")
    if not isinstance(params, dict):
        raise _invalid("params must be an object.")
    if id_ is None:
        return McpMessage(id=None, method=method, params=params, is_modern=True)
    is_modern = _is_modern(params)
    g.mcp_is_legacy = not is_modern
    if is_modern:
        _compare_headers(method, params)
        _check_meta(params)
    return McpMessage(id=id_, method=method, params=params, is_modern=is_modern)


def _is_id(found: object) -> bool:
    if isinstance(found, str):
        return len(found) <= _MAX_ID
    return isinstance(found, int) and not isinstance(found, bool)


def _is_modern(params: Mapping[str, Any]) -> bool:
    """Return True if the request uses the current revision. Raises `RpcError` if the revision is unknown."""
    header, wanted = request.headers.get(_VERSION_HEADER), _object(params.get("_meta")).get(PROTOCOL_VERSION)
    if wanted is None and (header is None or header in LEGACY_VERSIONS):
        return False
    if wanted is not None and not isinstance(wanted, str):
        raise _wrong_meta(PROTOCOL_VERSION, "must be a string")
    if header is None:
        raise _mismatch(f"the header {_VERSION_HEADER} is missing")
    if wanted is not None and header != wanted:
        raise _mismatch(f"{_VERSION_HEADER} is {_shown(header)}, but the body has {_shown(wanted)}")
    if header in LEGACY_VERSIONS:
        return False
    if header != VERSION:
        data = {"supported": list(VERSIONS), "requested": header[:_MAX_SHOWN]}
        raise RpcError(UNSUPPORTED_VERSION, "Unsupported protocol version", status=400, data=data)
    return True


def _compare_headers(method: str, params: Mapping[str, Any]) -> None:
    """Raise `RpcError` if a header contradicts the body."""
    given = request.headers.get(_METHOD_HEADER)
    if given != method:
        raise _mismatch(_difference(_METHOD_HEADER, given, method))
    wanted, name = params.get(_NAMED_BY.get(method, "")), _decoded(request.headers.get(_NAME_HEADER))
    # Clients omit it for tasks (FastMCP 4.1), where only proxies need it.
    is_optional = name is None and method != "tools/call"
    if isinstance(wanted, str) and name != wanted and not is_optional:
        raise _mismatch(_difference(_NAME_HEADER, name, wanted))


def _decoded(value: str | None) -> str | None:
    """Return the value of a header, which is encoded if it is not plain ASCII. Raises `RpcError`."""
    begin, end = _ENCODED
    if value is None or not (value.startswith(begin) and value.endswith(end)):
        return value
    try:
        return base64.b64decode(value[len(begin) : -len(end)], validate=True).decode()
    except (binascii.Error, ValueError):
        raise _mismatch(f"{_NAME_HEADER} is not valid base64 of UTF-8") from None


def _check_meta(params: Mapping[str, Any]) -> None:
    meta = params.get("_meta")
    if not isinstance(meta, dict):
        raise RpcError(
            INVALID_PARAMS,
            "params._meta is missing; it must have the protocol version and the client's capabilities.",
            status=400,
        )
    if meta.get(PROTOCOL_VERSION) is None:
        raise _wrong_meta(PROTOCOL_VERSION, "is missing")
    if not isinstance(meta.get(CLIENT_CAPABILITIES), dict):
        raise _wrong_meta(CLIENT_CAPABILITIES, "must be an object")


def _object(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _difference(header: str, given: str | None, wanted: str) -> str:
    if given is None:
        return f"the header {header} is missing"
    return f"{header} is {_shown(given)}, but the body has {_shown(wanted)}"


def _shown(string: str) -> str:
    return ascii(string[:_MAX_SHOWN])


def _mismatch(reason: str) -> RpcError:
    return RpcError(HEADER_MISMATCH, f"Header mismatch: {reason}.", status=400)


def _wrong_meta(key: str, reason: str) -> RpcError:
    return RpcError(INVALID_PARAMS, f"params._meta[{key!r}] {reason}.", status=400)


def _invalid(reason: str) -> RpcError:
    return RpcError(INVALID_REQUEST, f"Not a request of JSON-RPC: {reason}", status=400)
