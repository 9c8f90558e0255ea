"""MCP (Model Context Protocol) messages, for a bridge to agents."""

from __future__ import annotations

from collections.abc import Mapping

from ava.client.calls import Calls

#: Timeout in seconds of a message, whose response may wait 25 s for a job.
_MCP_SECONDS = 60


class McpMessages:
    """Sends MCP messages, for a bridge to agents: `client.mcp.send(…)`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def send(self, message: bytes, headers: Mapping[str, str]) -> bytes:
        """Send a message unchanged, with the headers that repeat it. Returns the response; b"" if there is none.

        An Idempotency-Key among the headers makes it safe to repeat. Raises `ApiUnavailable`.
        """
        return self._calls.exchange("/mcp", message, headers=headers, read_seconds=_MCP_SECONDS).content
