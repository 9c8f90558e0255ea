"""The limits of MCP, whose answers a model reads."""

from __future__ import annotations

from ava.domain.limits.limit import Limit

MCP_TOOLS = Limit(
    name="mcp_tools",
    unit="tools",
    meaning="Workers that are tools of MCP, each by its name; `search_workers` and `run_worker` reach the others.",
    status=None,
    fixed=100,
)
MCP_TEXT = Limit(
    name="mcp_text",
    unit="characters",
    meaning="Characters of an output, a log or a record in a result of MCP.",
    status=None,
    fixed=32_768,
)
MCP_LOG_LINES = Limit(
    name="mcp_log_lines",
    unit="lines",
    meaning="Lines of a log in a result of MCP.",
    status=None,
    fixed=200,
)
MCP_LIMITS = (MCP_TOOLS, MCP_TEXT, MCP_LOG_LINES)
