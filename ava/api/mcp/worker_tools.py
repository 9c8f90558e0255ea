"""Workers as tools: which of them a client sees, their names, and their calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ava.api.http.context import caller, context
from ava.api.mcp import content, rest_calls, tasks
from ava.api.mcp.rpc_messages import McpMessage, RpcError
from ava.domain.ids import is_client_id
from ava.domain.limits.table import MCP_TOOLS
from ava.domain.worker import McpUse, WorkerStatus, WorkerTool
from ava.store.fleet.worker_tools import ToolFilter

#: Max seconds that a call waits for its job to end. Clients and proxies often time out after 30 s.
ANSWER_SECONDS = 25
#: Max workers that one search returns, each with its schema.
_MAX_FOUND = 20
_MAX_DESCRIPTION = 2_000
_PREFIX = "wkr_"
#: A schema's annotation for headers; our tools need none.
_HEADER = "x-mcp-header"


def offered() -> tuple[list[WorkerTool], bool]:
    """Return the workers that are tools of the caller's tenant, and True if there are more than a list can hold.

    In that case the list has only workers with handlers that are declared as tools.
    """
    found = _read(ToolFilter(patterns=_patterns()), limit=MCP_TOOLS.value + 1)
    if len(found) <= MCP_TOOLS.value:
        return found, False
    return _read(ToolFilter(patterns=_patterns(), is_declared=True), limit=MCP_TOOLS.value), True


def find(worker_id: str) -> WorkerTool | None:
    """Return a worker that the caller may run as a tool, or None."""
    if not is_client_id("wkr", worker_id):
        return None
    return next(iter(_read(ToolFilter(patterns=_patterns(), id=worker_id), limit=1)), None)


def search(wanted: str, after_id: str | None) -> list[WorkerTool]:
    """Return the workers with a string in their id, name or description, by id."""
    return _read(ToolFilter(patterns=_patterns(), search=wanted), limit=_MAX_FOUND, after_id=after_id)


def _read(tool_filter: ToolFilter, *, limit: int, after_id: str | None = None) -> list[WorkerTool]:
    found = context().workers.tools(caller(), tool_filter, limit=limit, after_id=after_id)
    rest_calls.record_size(sum(len(worker.input_schema_json or "") for worker in found))
    return found


def _patterns() -> tuple[str, ...]:
    return context().settings.mcp_workers


def name_of(worker_id: str, taken: Sequence[str]) -> str:
    """Return the name of a worker's tool: its slug, or its id if the slug is in `taken`."""
    slug = worker_id.removeprefix(_PREFIX)
    return worker_id if slug in taken or slug.startswith(_PREFIX) else slug


def id_of(name: str) -> str:
    return name if name.startswith(_PREFIX) else f"{_PREFIX}{name}"


def described(worker: WorkerTool, taken: Sequence[str]) -> dict[str, Any]:
    description = worker.description or worker.name
    if worker.status is WorkerStatus.PAUSED:
        description = f"(Paused: its jobs wait.) {description}"
    return {
        "name": name_of(worker.id, taken),
        "title": worker.name,
        "description": description[:_MAX_DESCRIPTION],
        "inputSchema": input_schema(worker),
        "annotations": {"readOnlyHint": False, "openWorldHint": True},
    }


def input_schema(worker: WorkerTool) -> dict[str, Any]:
    """Return the schema of a worker's input in a form that every client accepts."""
    schema = {} if worker.input_schema_json is None else json.loads(worker.input_schema_json)
    return {**_without_headers(schema), "type": "object"} if isinstance(schema, dict) else {"type": "object"}


def _without_headers(node: Any) -> Any:
    if isinstance(node, dict):
        # A property with this name has a schema, not a string.
        return {
            name: _without_headers(inner)
            for name, inner in node.items()
            if name != _HEADER or not isinstance(inner, str)
        }
    return [_without_headers(inner) for inner in node] if isinstance(node, list) else node


def run(worker: WorkerTool, arguments: Mapping[str, Any], message: McpMessage) -> dict[str, Any]:
    """Trigger a job and return its task, or its result if the client or the worker does not use tasks.

    A client without tasks gets a job's id for `get_job` after `ANSWER_SECONDS`, or immediately if the worker is
    declared as a task. Raises `Refused`, `RpcError`.
    """
    body = {"worker_id": worker.id, "input": arguments}
    job: Mapping[str, Any] = rest_calls.ask(
        "POST", "/v1/ava/jobs", body=body, traceparent=message.traceparent, takes_key=True
    ).data
    if message.knows_tasks and worker.mcp is not McpUse.ANSWER:
        return tasks.created(job)
    if message.knows_tasks or worker.mcp is not McpUse.TASK:
        job = _waited_for(job)
    if tasks.is_final(job):
        return tasks.result_of(job)
    if message.knows_tasks:
        return tasks.created(job)
    sentence = f"Job {job['id']} of {worker.id} is {job['status']}. Call get_job with this id for its outcome."
    return content.explained(sentence, job_id=job["id"])


def _waited_for(job: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the job once it has ended, or after the max time of a call."""
    try:
        return tasks.show_job(job["id"], wait_seconds=ANSWER_SECONDS)
    except (RpcError, rest_calls.Refused):
        # The job is stored, and the client needs its id; it reads the outcome later.
        return job
