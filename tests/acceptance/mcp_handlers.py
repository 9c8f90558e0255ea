"""The tools that MCP's conformance suite calls, as workers."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from ava import Env, worker


@worker(mcp="answer")
def greet(input: dict[str, Any]) -> str:
    """Greet somebody."""
    return f"Hello, {input.get('name')}!"


@worker(input_schema={"type": "object", "properties": {"seconds": {"type": "number"}, "label": {"type": "string"}}})
def slow_compute(input: dict[str, Any], env: Env) -> dict[str, Any]:
    """Sleep for some seconds."""
    env.progress(0.5, "half of it")
    time.sleep(input["seconds"])
    return {"label": input.get("label"), "seconds": input["seconds"]}


@worker(mcp="task")
def failing_job(_input: dict[str, Any]) -> None:
    """Fail."""
    raise ValueError("no such channel")


@worker(mcp="task", on_worker_lost="fail")
def protocol_error_job(_input: dict[str, Any]) -> None:
    """Lose its process."""
    os.kill(os.getpid(), signal.SIGKILL)


@worker(mcp="answer")
def confirm_delete(_input: dict[str, Any]) -> str:
    """Answer at once; the suite has a task here that asks for input."""
    return "deleted"


@worker("test_logging_tool", mcp="answer")
def logging_tool(_input: dict[str, Any], env: Env) -> str:
    """Write to the log."""
    env.log.info("a line")
    return "logged"


@worker("test_streaming_elicitation", mcp="answer")
def streaming_elicitation(_input: dict[str, Any]) -> str:
    """Answer at once."""
    return "answered"


@worker("test_simple_text", mcp="answer")
def simple_text(_input: dict[str, Any]) -> str:
    """Return the text that the suite expects."""
    return "This is a simple text response for testing."


@worker("test_error_handling", mcp="answer")
def error_handling(_input: dict[str, Any]) -> None:
    """Fail."""
    raise RuntimeError("This tool intentionally returns an error for testing")


@worker(mcp="off")
def hidden(_input: dict[str, Any]) -> None:
    """Be no tool."""
