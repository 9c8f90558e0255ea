"""The tools of every installation; each calls a route."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ava.api.mcp import content, rest_calls, tasks, worker_tools
from ava.api.mcp.rpc_messages import McpMessage
from ava.api.openapi import properties
from ava.api.schemas.error_groups import ErrorListQuery
from ava.api.schemas.jobs import JobListQuery
from ava.api.schemas.schedules import PreviewBody, ScheduleBody
from ava.api.schemas.workers import WorkerListQuery
from ava.domain.access.caller import Caller
from ava.domain.ids import is_client_id
from ava.domain.limits.table import MCP_LOG_LINES, MCP_TEXT
from ava.domain.strings import storable
from ava.domain.worker import WorkerTool

_JOB_FIELDS = "id,worker_id,status,priority,created_at,started_at,completed_at,duration_ms,error,progress,tags"
_WORKER_FIELDS = ("id", "name", "description", "status", "live", "queue", "timeout_seconds")
_MAX_PER_PAGE = 50
_USUAL_LOG_LINES = 100

_STRING = {"type": "string"}
_JOB_ID = {"type": "string", "description": "The id of a job, job_…"}
_WORKER_ID = {"type": "string", "description": "The id of a worker, wkr_…"}
_CURSOR = {"type": "string", "description": "The next_cursor of the previous response."}
_LIMIT = {"type": "integer", "minimum": 1, "maximum": _MAX_PER_PAGE, "default": 20}
_INPUT = {"type": "object", "description": "The input of the worker's handler."}

_Arguments = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool: its definition and its function."""

    name: str
    title: str
    description: str
    arguments: Mapping[str, Any]
    required: tuple[str, ...] = ()
    run: Callable[[_Arguments, McpMessage], dict[str, Any]]
    #: Whether it changes something and therefore requires a role with write access.
    is_write: bool = False
    #: Whether it can undo or end something.
    is_destructive: bool = False
    #: Whether it is offered only if there are more workers than fit into a list.
    is_for_many: bool = False
    schema: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        schema = {"type": "object", "properties": dict(self.arguments), "additionalProperties": False}
        object.__setattr__(self, "schema", schema | ({"required": list(self.required)} if self.required else {}))

    @property
    def described(self) -> dict[str, Any]:
        hints = {"destructiveHint": self.is_destructive} if self.is_write else {}
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": self.schema,
            "annotations": {"readOnlyHint": not self.is_write, "openWorldHint": False, **hints},
        }

    def call(self, arguments: _Arguments, message: McpMessage) -> dict[str, Any]:
        """Run it and return its result. Raises `Refused`, `RpcError`."""
        if unknown := [name for name in arguments if name not in self.arguments]:
            raise rest_calls.Refused(
                f"{unknown[0][:100]}: unknown argument of {self.name}; known are {', '.join(self.arguments)}.",
                status=422,
            )
        for name in self.required:
            if name not in arguments:
                raise rest_calls.Refused(f"{name}: it is missing.", status=422)
        return self.run(arguments, message)


def for_caller(who: Caller, *, has_many: bool) -> list[Tool]:
    return [tool for tool in _TOOLS if (who.may_write or not tool.is_write) and (has_many or not tool.is_for_many)]


def _id(arguments: _Arguments, name: str, prefix: str) -> str:
    value = arguments[name]
    if not (isinstance(value, str) and is_client_id(prefix, value)):
        raise rest_calls.Refused(f"{name}: it must be an id that begins with {prefix}_.", status=422)
    return value


def _query(arguments: _Arguments, names: Mapping[str, str]) -> dict[str, str]:
    """Return query parameters from arguments; `names` maps an argument to its parameter."""
    found = {}
    for name, parameter in names.items():
        if (value := arguments.get(name)) is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise rest_calls.Refused(f"{name}: it must be a string or an integer.", status=422)
        found[parameter] = string = str(value)
        if storable(string, len(string)) != string:
            raise rest_calls.Refused(f"{name}: it must not contain NUL or half of a surrogate pair.", status=422)
    return found


def _list(
    path: str,
    name: str,
    parameters: Mapping[str, str],
    arguments: _Arguments,
    *,
    fixed: Mapping[str, str] | None = None,
    fields: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    """Return a page of a list under `name`, with as many records as fit into a result and `fields` of each, or all."""
    limit = arguments.get("limit", 20)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MAX_PER_PAGE:
        raise rest_calls.Refused(f"limit: it must be from 1 to {_MAX_PER_PAGE}.", status=422)
    query = {**_query(arguments, parameters), **(fixed or {})}
    while True:
        response = rest_calls.ask("GET", path, query={**query, "per_page": str(limit)})
        found = [each if fields is None else {field: each[field] for field in fields} for each in response.data]
        limit = content.count_fitting(found)
        # The cursor of a smaller page leads to the records that did not fit.
        if limit == len(found):
            return {name: found, "next_cursor": response.pagination.get("next_cursor")}


def _list_jobs(arguments: _Arguments, _: McpMessage) -> dict[str, Any]:
    names = {
        **{name: f"filter[{name}]" for name in ("worker_id", "status", "created_after", "created_before", "error")},
        "cursor": "cursor",
    }
    found = _list("/v1/ava/jobs", "jobs", names, arguments, fixed={"fields": _JOB_FIELDS})
    return content.of_data(found, about="a list of jobs")


def _get_job(arguments: _Arguments, _: McpMessage) -> dict[str, Any]:
    job_id, wait = _id(arguments, "job_id", "job"), arguments.get("wait_seconds")
    if wait is not None and (type(wait) is not int or not 0 <= wait <= worker_tools.ANSWER_SECONDS):
        raise rest_calls.Refused(f"wait_seconds: it must be from 0 to {worker_tools.ANSWER_SECONDS}.", status=422)
    job = tasks.show_job(job_id, wait_seconds=wait or None)
    return content.of_data(job, about=f"the record of job {job_id}", job_id=job_id)


def _get_logs(arguments: _Arguments, _: McpMessage) -> dict[str, Any]:
    job_id = _id(arguments, "job_id", "job")
    lines = arguments.get("lines", _USUAL_LOG_LINES)
    if type(lines) is not int or not 1 <= lines <= MCP_LOG_LINES.value:
        raise rest_calls.Refused(f"lines: it must be from 1 to {MCP_LOG_LINES.value}.", status=422)
    query = _query(arguments, {"level": "filter[level]", "before": "before", "text": "q"})
    size, wanted = "limit" if "before" in query else "tail", lines
    while True:
        response = rest_calls.ask("GET", f"/v1/ava/jobs/{job_id}/logs", query={**query, size: str(wanted)})
        found = [content.short_line(line) for line in response.data["logs"]]
        wanted = content.count_fitting(found[::-1])
        # As in a list: the cursor of a smaller page leads to the lines that did not fit.
        if wanted == len(found):
            break
    log = {**response.data, "logs": found, "previous_cursor": response.pagination.get("previous_cursor")}
    if cut := content.lines_left_out(found, lines, has_more=log["previous_cursor"] is not None):
        log["cut"] = cut
    return content.of_data(log, about=f"the log of job {job_id}", job_id=job_id)


def _why(arguments: _Arguments, _: McpMessage) -> dict[str, Any]:
    job_id = _id(arguments, "job_id", "job")
    data = rest_calls.ask("GET", f"/v1/ava/jobs/{job_id}/why").data
    return content.of_data(data, about=f"why job {job_id} is in its state", job_id=job_id)


def _list_workers(arguments: _Arguments, _: McpMessage) -> dict[str, Any]:
    names = {"text": "q", "status": "filter[status]", "cursor": "cursor"}
    found = _list("/v1/ava/workers", "workers", names, arguments, fields=_WORKER_FIELDS)
    return content.of_data(found, about="a list of workers")


def _list_errors(arguments: _Arguments, _: McpMessage) -> dict[str, Any]:
    names = {"worker_id": "filter[worker_id]", "status": "filter[status]"}
    names |= {name: name for name in ("since", "until", "cursor")}
    return content.of_data(
        _list("/v1/ava/errors", "errors", names, arguments), about="groups of failed jobs by their errors"
    )


def _post(path: str, about: str, arguments: _Arguments, _: McpMessage) -> dict[str, Any]:
    data = rest_calls.ask("POST", path, body=arguments, takes_key=True).data
    return content.of_data(data, about=about)


def _change_job(act: str, about: str, arguments: _Arguments, _: McpMessage) -> dict[str, Any]:
    job_id = _id(arguments, "job_id", "job")
    body = {name: value for name, value in arguments.items() if name != "job_id"}
    job = rest_calls.ask("POST", f"/v1/ava/jobs/{job_id}/{act}", body=body, takes_key=act == "retry").data
    return content.of_data(job, about=f"{about} {job_id}", job_id=job["id"])


def _search_workers(arguments: _Arguments, _: McpMessage) -> dict[str, Any]:
    wanted, after_id = arguments["text"], arguments.get("after_id")
    if not isinstance(wanted, str) or not 1 <= len(wanted) <= 100 or storable(wanted) != wanted:
        raise rest_calls.Refused("text: it must be a string of 1 to 100 characters, without NUL.", status=422)
    found = worker_tools.search(wanted, None if after_id is None else _id(arguments, "after_id", "wkr"))
    return content.of_data(
        {"workers": rest_calls.outside_loop(lambda: _within_limit(found))}, about="workers that can be run"
    )


def _within_limit(found: Sequence[WorkerTool]) -> list[dict[str, Any]]:
    """Return as many of the first workers as fit into a result; a further search continues after them."""
    shown: list[dict[str, Any]] = []
    budget = MCP_TEXT.value
    for worker in found:
        tool = worker_tools.described(worker, ())
        each = {"id": worker.id, "name": worker.name, "description": tool["description"]}
        each |= {"status": worker.status.value, "input_schema": tool["inputSchema"]}
        budget -= len(json.dumps(each, ensure_ascii=False)) + 1
        if budget < 0 and shown:
            break
        shown.append(each)
    return shown


def _run_worker(arguments: _Arguments, message: McpMessage) -> dict[str, Any]:
    worker = worker_tools.find(_id(arguments, "worker_id", "wkr"))
    if worker is None:
        raise rest_calls.Refused(
            "worker_id: no tool runs a worker with this id; find workers with search_workers.", status=404
        )
    return worker_tools.run(worker, arguments.get("input", {}), message)


_TOOLS = (
    Tool(
        name="list_jobs",
        title="List jobs",
        description="Lists jobs, newest first, without their inputs and outputs.",
        arguments={
            **properties(JobListQuery(), "worker_id status created_after created_before error"),
            "limit": _LIMIT,
            "cursor": _CURSOR,
        },
        run=_list_jobs,
    ),
    Tool(
        name="get_job",
        title="Show a job",
        description="Shows a job with its input, output and error. With wait_seconds, waits until it has ended.",
        arguments={
            "job_id": _JOB_ID,
            "wait_seconds": {"type": "integer", "minimum": 0, "maximum": worker_tools.ANSWER_SECONDS},
        },
        required=("job_id",),
        run=_get_job,
    ),
    Tool(
        name="get_logs",
        title="Show a job's log",
        description="Shows the last lines of a job's log, or the lines before the cursor `before`.",
        arguments={
            "job_id": _JOB_ID,
            "level": {"type": "string", "enum": ["info", "warn", "error"]},
            "text": {"type": "string", "description": "A part of the lines."},
            "lines": {"type": "integer", "minimum": 1, "maximum": MCP_LOG_LINES.value, "default": _USUAL_LOG_LINES},
            "before": {"type": "string", "description": "The previous_cursor of the previous response."},
        },
        required=("job_id",),
        run=_get_logs,
    ),
    Tool(
        name="why",
        title="Explain a job's state",
        description="Explains in a sentence why a job is waiting, running or ended, with the facts.",
        arguments={"job_id": _JOB_ID},
        required=("job_id",),
        run=_why,
    ),
    Tool(
        name="cancel_job",
        title="Cancel a job",
        description="Cancels a queued or running job and the jobs below it in its tree.",
        arguments={"job_id": _JOB_ID},
        required=("job_id",),
        run=partial(_change_job, "cancel", "the record of the cancelled job"),
        is_write=True,
        is_destructive=True,
    ),
    Tool(
        name="retry_job",
        title="Retry a job",
        description="Triggers a copy of a final job, with another input if one is given.",
        arguments={"job_id": _JOB_ID, "input": _INPUT},
        required=("job_id",),
        run=partial(_change_job, "retry", "the record of the new job that repeats"),
        is_write=True,
    ),
    Tool(
        name="list_workers",
        title="List workers",
        description="Lists the workers by id, and whether a live process serves each.",
        arguments={
            "text": {"type": "string", "description": "A part of the name or id."},
            **properties(WorkerListQuery(), "status"),
            "limit": _LIMIT,
            "cursor": _CURSOR,
        },
        run=_list_workers,
    ),
    Tool(
        name="list_errors",
        title="List errors",
        description="Lists error groups of failed jobs, most recent first, with the number of jobs.",
        arguments={
            **properties(ErrorListQuery(), "worker_id status since until"),
            "limit": _LIMIT,
            "cursor": _CURSOR,
        },
        run=_list_errors,
    ),
    Tool(
        name="preview_schedule",
        title="Preview a schedule",
        description="Describes a cron pattern, or an interval, in words, with its next firings. Nothing is saved.",
        arguments=properties(PreviewBody(), "cron timezone every_seconds count"),
        run=partial(_post, "/v1/ava/schedules/preview", "the next firings of a pattern"),
    ),
    Tool(
        name="create_schedule",
        title="Create a schedule",
        description="Triggers a worker by a cron pattern in a time zone, or by an interval below a minute.",
        arguments=properties(
            ScheduleBody(), "worker_id cron timezone every_seconds name input priority enabled overlap"
        ),
        required=("worker_id",),
        run=partial(_post, "/v1/ava/schedules", "the record of the new schedule"),
        is_write=True,
    ),
    Tool(
        name="search_workers",
        title="Search workers",
        description="Finds workers by a part of their id, name or description, with the schemas of their inputs, for "
        "run_worker.",
        arguments={
            "text": _STRING,
            "after_id": {"type": "string", "description": "The last id of the previous response."},
        },
        required=("text",),
        run=_search_workers,
        is_for_many=True,
    ),
    Tool(
        name="run_worker",
        title="Run a worker",
        description="Runs a worker found with search_workers.",
        arguments={"worker_id": _WORKER_ID, "input": _INPUT},
        required=("worker_id",),
        run=_run_worker,
        is_write=True,
        is_for_many=True,
    ),
)
by_name = {tool.name: tool for tool in _TOOLS}
