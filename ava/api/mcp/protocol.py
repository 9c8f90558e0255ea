"""Names, numbers and errors of MCP's revision 2026-07-28 and its extension for tasks (SEP-2663)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    """A request whose response is a JSON-RPC error."""

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
