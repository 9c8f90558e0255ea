"""Messages of MCP, the Model Context Protocol, for a bridge to agents."""

from __future__ import annotations

from collections.abc import Mapping

from ava.client.calls import Calls

#: Seconds for the answer to a message of MCP, which may wait for a job for 25 s.
_MCP_SECONDS = 60


class McpMessages:
    """Sends messages of MCP, the Model Context Protocol, for a bridge to agents: `client.mcp.send(…)`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def send(self, message: bytes, headers: Mapping[str, str]) -> bytes:
        """Send a message as it is, with the headers that repeat it. Returns the answer; empty if there is none.

        A key of idempotency among the headers makes it safe to repeat. Raises `ApiUnavailable`.
        """
        return self._calls.exchange("/mcp", message, headers=headers, read_seconds=_MCP_SECONDS).content
