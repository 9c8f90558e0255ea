"""How people call an operation: as a command of `ava`, as a method of the clients and as an MCP tool.

`/openapi.json` has it as `x-ava-call`. The tools write the clients' methods and the commands' snapshot from that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: The verb of a record's route by its HTTP method, and of a resource's route.
_OF_RECORD = {"get": "get", "patch": "update", "put": "set", "delete": "delete"}
_OF_RESOURCE = {"get": "list", "post": "create"}


@dataclass(frozen=True, kw_only=True)
class PublicCall:
    """How people call an operation. Path and HTTP method name a call by default: `schedules.create`."""

    #: The resource and the verb, as the Python client has them; TypeScript has both in camelCase.
    method: str = ""
    #: The words after `ava`, by default of the method, `show` for `get`. "": no command.
    command: str | None = None
    #: Fields of the query or the body that are positional, after the ids of the path.
    arguments: str = ""
    #: Names of options by their fields, if they differ: `{"scheduled_at": "--at"}`. "": no option.
    options: Mapping[str, str] = field(default_factory=dict)
    #: Values that a command sends for required fields without an option.
    defaults: Mapping[str, Any] = field(default_factory=dict)
    #: The help of the command and of the clients' methods; by default the summary.
    help: str = ""
    #: Arguments and options after the command and its ids in the example of the help.
    example: str = ""
    #: Columns of the table: fields or named cells. `TITLE=field` has another title, `field+` is for wide tables,
    #: `field?` is left out if it is always empty, `field!` may be below its row, `field*` is never cut.
    columns: str = ""
    #: Whether the command lists all records, unless a limit is given.
    lists_all: bool = False
    #: The MCP tool that calls it.
    tool: str = ""
    #: False: a repeated request would have another effect, so that clients send it once.
    is_repeatable: bool = True


def describe_call(call: PublicCall, method: str, path: str, summary: str) -> dict[str, Any]:
    """Return the description of a call, completed from its path, HTTP method and summary."""
    name = call.method or _method_name(method, path)
    command = " ".join(name.split(".")[-2:]) if call.command is None else call.command
    described = {
        "method": name,
        "command": re.sub(r" get$", " show", command),
        "arguments": call.arguments.split(),
        "options": dict(call.options),
        "defaults": dict(call.defaults),
        "help": call.help or f"{summary}.",
        "example": call.example,
        "columns": call.columns.split(),
        "lists_all": call.lists_all,
        "tool": call.tool,
        "once": not call.is_repeatable,
    }
    return {name: value for name, value in described.items() if value not in ("", [], {}, False)}


def _method_name(method: str, path: str) -> str:
    """Return `hooks.list` for `GET /v1/ava/hooks`, `hooks.rotate` for `POST /v1/ava/hooks/{hook_id}/rotate`."""
    resource, *rest = path.removeprefix("/v1").removeprefix("/ava").strip("/").split("/")
    below = [part for part in rest if not part.startswith("{")]
    is_record = bool(rest) and rest[-1].startswith("{")
    if below and below[0] == "deliveries":
        resource, below = f"{resource}.deliveries", below[1:]
    if below:
        return f"{resource}.{below[-1]}"
    verb = _OF_RECORD[method] if is_record else _OF_RESOURCE.get(method, method)
    return f"{resource}.{verb}"
