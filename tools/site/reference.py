"""The pages of the site that are written from the code: settings, limits, alerts, commands, and the API's operations.

The repository does not contain them: there, links lead to their sources (`SOURCES`), and on the site to the pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import click
import yaml

from ava import setting_values
from ava.cli.main import cli
from ava.domain.limits.table import LIMITS
from ava.settings import ClientSettings, Settings
from tools.openapi import ROOT, description

#: The pages below docs/ by the files that they are written from.
SOURCES = {
    "ava/settings.py": "reference/configuration.md",
    "ava/domain/limits/table.py": "reference/limits.md",
    "deploy/prometheus/alerts.yml": "reference/alerts.md",
    "ava/cli/main.py": "reference/cli.md",
    "tools/openapi.py": "reference/operations.md",
}
#: From here on a maximum only catches typing errors.
_UNBOUNDED = 1_000_000
#: The parts of the API in a reader's order, which is not that of the document.
_FIRST = ("jobs", "operations", "errors", "approvals", "workers", "schedules")
_CONFIGURATION = """# Configuration

Look up a setting here. Every process reads them from the environment at its start. A wrong or contradicting value stops
it with one line that names the setting. An empty value counts as not set, and lists are separated by commas.
`ava doctor` checks all of them. A setting marked *file* may come from a file: `AVA_API_KEY_FILE=/run/secrets/key`
replaces `AVA_API_KEY`. A file that is missing, empty or larger than 64 KiB is refused, and so is a variable set
together with its file.
"""
_LIMITS = """# Limits

Everything that a client or tenant can make grow has a named limit; look one up when an error names it.
`GET /v1/ava/limits` and `ava limits list` show the present values, and the tenant's use of those that are counted.
*Error* is the HTTP status of a request beyond the limit, whose message ends with `(limit NAME)`; without a status the
response is cut or ends early instead. [A proxy](../operate/install.md#load-balancer) bounds slow clients and the
connections of one address.
"""
_ALERTS = """# Alerts

Look up an alert of `deploy/prometheus/alerts.yml`: what it means, and what to do. Act on a *page* now, on a *ticket*
today. Run `ava doctor` first.
"""
_COMMANDS = """# Commands

Every command of `ava`. `ava COMMAND --help` prints its arguments and options with an example, and [Use the command
line](../how-to/command_line.md) explains profiles, output and completion. Commands marked with \\* call the API.
`ava api`, `ava worker`, `ava dispatcher` and `ava webhooks` without a verb are `ava start api`, `node`, `dispatcher`
and `sender`.
"""
_OPERATIONS = """# Operations

Every operation of the API with its parameters, from `/openapi.json`: its command, and its method of the clients, whose
name is in camelCase in TypeScript. [The API](api.md) explains what they have in common, and [fields](fields.md) has the
fields of bodies and records.
"""
_FIELDS = """# Fields

The fields of every body and record of the [operations](operations.md), from `/openapi.json`. A body must have the
fields marked *required*; a newer server may return further fields.
"""


def pages() -> dict[str, str]:
    """Return the Markdown of each page by its path below docs/."""
    document = description()
    written = (configuration(), limits(), alerts(), commands(), operations(document))
    return {**dict(zip(SOURCES.values(), written, strict=True)), "reference/fields.md": fields_of(document)}


def configuration() -> str:
    """Return the page of all settings, with the comments of their fields."""
    comments = _comments((ROOT / "ava" / "settings.py").read_text())
    processes = [
        _row(each.metadata["variable"], _default(each), _with_bounds(comments[each.name], each.metadata))
        for each in fields(Settings)
    ]
    callers = []
    for each in fields(ClientSettings):
        comment = comments[each.name]
        if variable := re.search(r" \(`(AVA_\w+)`\)", comment):
            meaning = comment.replace(variable[0], "")
            callers.append(_row(variable[1], f"`{each.default}`" if each.default else "none", meaning))
    commands = "The [commands](cli.md), [tasks](handlers.md#trigger-it-from-python) and clients read:"
    return "\n".join([_CONFIGURATION, *_table(processes), "", commands, "", *_table(callers), ""])


def _comments(source: str) -> dict[str, str]:
    """Return the comment above each field of the settings."""
    found: dict[str, str] = {}
    comment: list[str] = []
    for line in source.splitlines():
        stripped = line.strip()
        if stripped.startswith("#: "):
            comment.append(stripped.removeprefix("#: "))
            continue
        if (name := re.match(r"    (\w+): .+ = ", line)) and comment:
            found.setdefault(name[1], " ".join(comment))
        comment = []
    return found


def _table(rows: Iterable[str]) -> list[str]:
    return ["| variable | default | meaning |", "|---|---|---|", *rows]


def _row(variable: str, default: str, meaning: str) -> str:
    name = f"{variable}<SLUG>_<KEY>" if variable.endswith("_") else variable
    file = " *file*" if variable in setting_values.SECRETS else ""
    return f"| `{name}`{file} | {default} | {meaning.replace('|', chr(92) + '|')} |"


def _default(field: Any) -> str:
    value = field.default
    if isinstance(value, bool):
        value = field.metadata.get("of", ("true", "false"))[0 if value else 1]
    elif isinstance(value, float):
        value = f"{value:g}"
    elif isinstance(value, tuple):
        value = ", ".join(value)
    return f"`{value}`" if (isinstance(value, str) and value) or isinstance(value, int) else "none"


def _with_bounds(comment: str, metadata: Mapping[str, Any]) -> str:
    """Return the meaning of a setting with its allowed values."""
    if (between := metadata.get("between")) and between[1] < _UNBOUNDED:
        return f"{comment} From {between[0]:,} to {between[1]:,}."
    if values := metadata.get("choices") or metadata.get("of") or metadata.get("among"):
        return f"{comment} One of {', '.join(f'`{value}`' for value in values)}."
    return comment


def limits() -> str:
    """Return the page of all limits."""
    rows = ["| limit | default | error | meaning |", "|---|---|---|---|"]
    for limit in LIMITS:
        # The meaning begins with the unit, except for percentages.
        unit = " %" if limit.unit == "percent" else ""
        default = "none" if limit.default is None else f"{limit.default:,}{unit}"
        setting = "" if limit.setting is None else f" (`{limit.setting}`)"
        rows.append(f"| `{limit.name}` | {default}{setting} | {limit.status or ''} | {limit.meaning} |")
    return "\n".join([_LIMITS, *rows, ""])


def alerts() -> str:
    """Return the page of all alerts, from their annotations."""
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    lines = [_ALERTS]
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        after = f", after {rule['for']}" if "for" in rule else ""
        lines += [
            f"### {rule['alert']}",
            "",
            f"*{rule['labels']['severity']}{after}* {rule['annotations']['description']}",
            "",
        ]
    return "\n".join(lines)


def commands() -> str:
    """Return the page of all commands: a row for each."""
    rows = ["| command | purpose |", "|---|---|"]
    for command, path in _commands(cli, click.Context(cli, info_name="ava")):
        mark = "\\*" if any(parameter.name == "url" for parameter in command.params) else ""
        rows.append(f"| `{path}`{mark} | {command.get_short_help_str(limit=200)} |")
    return "\n".join([_COMMANDS, *rows, ""])


def _commands(group: click.Group, ctx: click.Context) -> Iterator[tuple[click.Command, str]]:
    """Yield each shown command below a group with its path, by name."""
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if command is None or command.hidden:
            continue
        child = click.Context(command, info_name=name, parent=ctx)
        if isinstance(command, click.Group):
            yield from _commands(command, child)
        else:
            yield command, child.command_path


def operations(document: Mapping[str, Any]) -> str:
    """Return the page of all operations of an OpenAPI document."""
    by_tag: dict[str, list[str]] = {tag: [] for tag in _FIRST}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).extend(_operation(method, path, operation))
    lines = [_OPERATIONS]
    for tag, parts in by_tag.items():
        lines += [f"## {tag.capitalize()}", "", *parts]
    return "\n".join(lines)


def fields_of(document: Mapping[str, Any]) -> str:
    """Return the page of the fields of all bodies and records of an OpenAPI document."""
    lines = [_FIELDS]
    for name, schema in document["components"]["schemas"].items():
        lines += [f"## {name}", "", *_fields(schema), ""]
    return "\n".join(lines)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"### {operation['summary']}", "", f"`{method.upper()} {path}` (`{operation['operationId']}`)", "")
    if call := operation.get("x-ava-call"):
        command = f"`ava {call['command']}`, " if "command" in call else ""
        tool = f", tool `{call['tool']}`" if "tool" in call else ""
        yield from (f"{command}`client.{call['method']}(…)`{tool}", "")
    if "description" in operation:
        yield from (operation["description"], "")
    if parameters := operation.get("parameters"):
        yield from ("| parameter | type | meaning |", "|---|---|---|")
        for each in parameters:
            required = " *required*" if each.get("required") else ""
            yield f"| `{each['name']}`{required} | {_type(each['schema'])} | {_cell(each.get('description', ''))} |"
        yield ""
    for body in list(operation.get("requestBody", {}).get("content", {}).values())[:1]:
        yield from (f"Body: {_type(body['schema'])}.", "")
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        if status.startswith("2") and content:
            record = next(iter(content.values())).get("schema", {})
            data = record.get("properties", {}).get("data", record)
            yield from (f"Response {status}: {_type(data) or ', '.join(content)}.", "")


def _fields(schema: Mapping[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    yield from ("| field | type | meaning |", "|---|---|---|")
    for name, field in schema.get("properties", {}).items():
        mark = " *required*" if name in required else ""
        yield f"| `{name}`{mark} | {_type(field)} | {_cell(field.get('description', ''))} |"


def _type(schema: Mapping[str, Any]) -> str:
    """Return a schema's type in words: a link to its fields, or the names of JSON types."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"[{name}](fields.md#{name.lower()})"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {})) or 'values'}"
    if alternatives := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return " or ".join(filter(None, map(_type, alternatives)))
    if values := schema.get("enum"):
        return ", ".join(f"`{value}`" for value in values)
    kind = schema.get("type", "")
    return " or ".join(kind) if isinstance(kind, list) else str(schema.get("format") or kind)


def _cell(markdown: str) -> str:
    return " ".join(markdown.replace("|", r"\|").split())
