"""An agent with FastMCP's client: it runs workers over HTTP and over stdio, and prints what it got."""

# ruff: noqa: T201

from __future__ import annotations

import asyncio
import json
import os
import sys

from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from fastmcp.exceptions import ToolError
from fastmcp_tasks.client import call_tool_task


async def use(client: Client) -> dict:
    """Returns what one agent sees and does."""
    async with client:
        tools = {tool.name: tool for tool in await client.list_tools()}
        greeted = await client.call_tool("greet", {"name": "Ada"})
        computed = await client.call_tool("slow_compute", {"seconds": 0.2, "label": "a"})
        task = await call_tool_task(client, "slow_compute", {"seconds": 60})
        begun = await task.status()
        await task.cancel()
        stopped = await task.wait()
        try:
            await client.call_tool("failing_job", {})
            error = None
        except ToolError as failure:
            error = str(failure)
        why = await client.call_tool("why", {"job_id": task.task_id})
        return {
            "tools": sorted(set(tools) - {"list_jobs"}),
            "schema": tools["slow_compute"].input_schema["properties"]["seconds"],
            "greeted": greeted.content[0].text,
            "computed": computed.structured_content,
            "task": [task.task_id[:4], begun.status, stopped.status],
            "error": error,
            "why": why.structured_content["status"],
        }


async def main() -> None:
    """Print one line for each transport."""
    key = os.environ["AVA_API_KEY"]
    http = StreamableHttpTransport(f"{os.environ['AVA_URL']}/mcp", headers={"Authorization": f"Bearer {key}"})
    environ = {name: os.environ[name] for name in ("AVA_API_KEY", "AVA_URL", "PATH")}
    stdio = StdioTransport(sys.argv[1], sys.argv[2:], env=environ)
    for transport in (http, stdio):
        print(json.dumps(await use(Client(transport))))


asyncio.run(main())
