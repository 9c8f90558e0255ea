"""`make records`: write `ava/client/methods.py` from the operations of the API. `--check` compares it."""

from __future__ import annotations

import json
import keyword
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import indent, wrap
from typing import Any

from tools.client_records import CLASSES, LARGER, SCHEMAS, SENT, WIDTH, optional, type_of
from tools.openapi import ROOT, description, write

MODULE = ROOT / "ava/client/methods.py"
HEAD = '''"""The methods of the clients' resources. Written by `make records` from the operations of the API.

One generated file, because nobody edits it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack

from ava.client.calls import ApiResource, Calls
from ava.client.flows import Flow, Listing, Mode, Sender, call, listing
from ava.client.records import (
'''
#: The methods that are more than one request, and are written by hand in the class's subclass.
BY_HAND = {
    "jobs.trigger_many": "each entry may have its own key",
    "jobs.list": "filters by tags and input values, and records with large payloads",
    "jobs.export": "filters by tags and input values",
    "jobs.logs": "reads pages in both directions, and follows",
    "jobs.events": "resumes a stream",
    "jobs.cancel": "a lost response is no conflict",
    "jobs.retry": "`from_failed` is a flag",
    "jobs.tree": "waits longer than other requests",
    "operations.retry": "the filters are arguments",
    "operations.cancel": "the filters are arguments",
    "events.send": "one event or several",
    "sessions.create_link": "returns the whole URL",
}
#: Fields of an entry of a bulk. `client.jobs.entry` takes them and the options of a trigger.
_OF_ENTRIES = ("name", "after", "when")
#: Parameters that the transport sends.
_PAGING = ("page", "per_page", "cursor", "fields", "wait", "dry_run")
RECORDS = {schema: name for names in (SCHEMAS, LARGER) for name, schema in names.items()}
#: The decorator of a method and the type of its result, by the kind of the response.
_RESULTS = {
    "lines": ("listing", "{}"),
    "records": ("listing", "{}"),
    "array": ("call", "Sequence[{}]"),
    "record": ("call", "{}"),
    "count": ("call", "int"),
    "none": ("call", "None"),
}
#: Named optional fields, up to which a method lists them itself.
_MAX_NAMED = 2


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field of the query or of the body."""

    name: str
    schema: dict[str, Any]
    is_required: bool
    #: The name of the parameter, if the field is in the query.
    parameter: str = ""

    @property
    def argument(self) -> str:
        return f"{self.name}_" if keyword.iskeyword(self.name) else self.name

    @property
    def constant(self) -> str | None:
        """Its value, if it has only one and must have it."""
        values = self.schema.get("enum", ())
        return values[0] if self.is_required and len(values) == 1 else None


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation of the description that people call."""

    verb: str
    path: str
    declared: dict[str, Any]
    schemas: dict[str, Any]

    @property
    def call(self) -> dict[str, Any]:
        return dict(self.declared["x-ava-call"])

    @property
    def resource(self) -> str:
        return str(self.call["method"].rpartition(".")[0])

    @property
    def name(self) -> str:
        return str(self.call["method"].rpartition(".")[2])

    @property
    def ids(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)

    @property
    def body_name(self) -> str:
        """Return the name of the body's schema, of one event where several may be sent."""
        content = self.declared.get("requestBody", {}).get("content", {}).get("application/json", {})
        name = str(content.get("schema", {}).get("$ref", "")).rpartition("/")[2]
        return "EventBody" if name == "EventsBody" else name

    def parameters(self, place: str) -> list[dict[str, Any]]:
        return [each for each in self.declared["parameters"] if each["in"] == place]

    def has_header(self, name: str) -> bool:
        return any(each["name"] == name for each in self.parameters("header"))

    @property
    def fields(self) -> list[Field]:
        """Return the fields that people give."""
        found = [
            Field(
                name=_plural(name) if "." in each["name"] else name,
                schema=each["schema"] | {"description": each.get("description", "")},
                is_required=each.get("required", False),
                parameter=each["name"],
            )
            for each in self.parameters("query")
            if each["name"] not in _PAGING
            for name in [re.sub(r"filter\[(\w+)[^\]]*\]", r"\1", each["name"])]
        ]
        return found + self.fields_of(self.body_name)

    def fields_of(self, body_name: str) -> list[Field]:
        """Return the fields of a body."""
        body = self.schemas.get(body_name, {})
        return [
            Field(name=name, schema=schema, is_required=name in body.get("required", ()))
            for name, schema in body.get("properties", {}).items()
            if name != "dry_run"
        ]

    @property
    def success(self) -> dict[str, Any]:
        """Return the content of the successful response."""
        status = max(code for code in self.declared["responses"] if code.startswith("2"))
        return dict(self.declared["responses"][status]["content"])

    @property
    def reply(self) -> tuple[str, str]:
        """Return the kind of the response, and the name of its records' schema; of a count its field's."""
        if "application/x-ndjson" in self.success:
            return "lines", _name_of(self.success["application/x-ndjson"]["schema"])
        if self.verb == "DELETE" and self.ids:
            return "none", ""
        envelope = self.success["application/json"]["schema"]["properties"]
        data = envelope["data"]
        if data.get("type") == "array":
            return "records" if "pagination" in envelope else "array", _name_of(data["items"])
        properties = self.schemas[_name_of(data)]["properties"]
        if len(properties) == 1 and all(each.get("type") == "integer" for each in properties.values()):
            return "count", next(iter(properties))
        return "record", _name_of(data)


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    """Yield the operations that people call."""
    for path, methods in document["paths"].items():
        for verb, declared in methods.items():
            if "x-ava-call" in declared:
                schemas = document["components"]["schemas"]
                yield Operation(verb=verb.upper(), path=path, declared=declared, schemas=schemas)


def by_resource(document: dict[str, Any]) -> dict[str, list[Operation]]:
    """Return the operations by their resources, those within others first."""
    found: dict[str, list[Operation]] = {}
    for each in sorted(operations(document), key=lambda each: "." not in each.resource):
        found.setdefault(each.resource, []).append(each)
    return found


def title(resource: str) -> str:
    """Return the name of a resource in that of its class."""
    return resource.replace(".", " ").title().replace(" ", "")


def about(resource: str) -> str:
    """Return what the calls of a resource are about."""
    return " of ".join(reversed(resource.split(".")))


def _name_of(schema: dict[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _plural(name: str) -> str:
    return {"tag": "tags"}.get(name, name)


def module(document: dict[str, Any]) -> str:
    """Return the text of the module."""
    resources = by_resource(document)
    options: dict[str, tuple[str, str]] = {}
    classes = [_class(name, resources, options) for name in resources]
    text = "\n\n".join(
        [*(f"class {name}(TypedDict, total=False):\n{body}" for name, body in options.values()), *classes]
    )
    names = sorted({name for name in CLASSES if re.search(rf"[\[(]{name}[\],]", text)})
    source = HEAD + "".join(f"    {name},\n" for name in names) + ")\n\n\n" + text
    formatter = [sys.executable, "-m", "ruff", "format", "-"]
    return subprocess.run(formatter, input=source, capture_output=True, text=True, check=True).stdout


def _class(resource: str, resources: dict[str, list[Operation]], options: dict[str, tuple[str, str]]) -> str:
    """Return the class of a resource. Adds its methods' fields to `options`: name and text by their types."""
    prefix = title(resource)
    methods = [_method(each, options) for each in resources[resource] if each.call["method"] not in BY_HAND]
    lines = [f'class {prefix}Calls(ApiResource[Mode]):\n    """Calls about {about(resource)}."""\n']
    if f"{resource}.deliveries" in resources:
        lines.append(
            "    def __init__(self, calls: Calls, sender: Sender) -> None:\n"
            "        super().__init__(calls, sender)\n"
            f"        self.deliveries: {prefix}DeliveriesCalls[Mode] = {prefix}DeliveriesCalls(calls, sender)\n"
        )
    if resource == "jobs":
        filters = next(each for each in resources[resource] if each.name == "list")
        _named("JobFilters", [each for each in filters.fields if each.name != "sort"], options, is_change=False)
    return "\n".join(lines + methods)


def _method(operation: Operation, options: dict[str, tuple[str, str]]) -> str:
    fields = {each.argument: each for each in operation.fields if each.constant is None}
    constants = {each.name: each.constant for each in operation.fields if each.constant is not None}
    is_change = operation.verb == "PATCH"
    positional = [f"{name}: str" for name in operation.ids]
    for name in operation.call.get("arguments", ()):
        positional.append(_parameter(fields.pop(name)))
    required = [each for each in fields.values() if each.is_required]
    positional += [_parameter(fields.pop(each.argument)) for each in required]
    positional.sort(key=lambda text: "=" in text)
    named: list[str] = []
    if len(fields) > _MAX_NAMED or is_change:
        if operation.body_name == "TriggerBody":
            fields |= {each.name: each for each in operation.fields_of("BulkEntryBody") if each.name in _OF_ENTRIES}
        class_name = _named(_options_name(operation), list(fields.values()), options, is_change=is_change)
        extra = [f"**options: Unpack[{class_name}]"]
    else:
        named, extra = [_parameter(each) for each in fields.values()], []
    reply, schema = operation.reply
    kind, form = _RESULTS[reply]
    if reply == "records":
        named.append("per_page: int = 100")
    if operation.has_header("Idempotency-Key"):
        named.append("idempotency_key: str | None = None")
    if operation.has_header("Durability"):
        named.append("is_replicated: bool = False")
    given = ["self", *positional, *(["*"] if named else []), *named, *extra]
    returned = f"{'Listing' if kind == 'listing' else 'Flow'}[{form.format(_record(schema))}]"
    head = f"    @{kind}\n    def {operation.name}({', '.join(given)}) -> {returned}:"
    return f"{head}\n{_docstring(operation)}\n        {_call(operation, constants)}\n"


def _call(operation: Operation, constants: dict[str, Any]) -> str:
    filters = [each.parameter for each in operation.fields if each.parameter.startswith("filter")]
    spec = " ".join([operation.verb, operation.path, *filters])
    given = f"locals() | {json.dumps(constants)}" if constants else "locals()"
    reply, schema = operation.reply
    kind = "" if reply in ("none", "count") else f"{_record(schema)}, "
    once = ", is_idempotent=False" if operation.call.get("once") else ""
    return f'return self._{reply}({kind}"{spec}", {given}{once})'


def _record(schema: str) -> str:
    return RECORDS.get(schema, schema.removesuffix("Record"))


def _options_name(operation: Operation) -> str:
    body = operation.body_name
    if body.endswith("ChangeBody"):
        return f"{body.removesuffix('ChangeBody') or 'Job'}Changes"
    if body.endswith(("RedeliverBody", "ReplayBody")):
        return "DeliveryOptions"
    if body:
        return f"{body.removesuffix('Body')}Options"
    resource = operation.resource.rpartition(".")[2]
    singular = {"deliveries": "Delivery", "reports": operation.name.title()}.get(
        resource, resource.removesuffix("s").title()
    )
    return f"{singular}Filters"


def _named(name: str, fields: list[Field], options: dict[str, tuple[str, str]], *, is_change: bool) -> str:
    """Return the name of the class of optional fields; one with the same fields is used again."""
    is_same = "Changes; omitted fields stay unchanged" if is_change else "Optional fields; None is the default"
    types, lines = [], [f'    """{is_same}."""\n']
    for each in fields:
        type_ = type_of(each.schema, SENT) if is_change else optional(type_of(each.schema, SENT))
        if each.parameter.endswith(".key]") or each.parameter.endswith(".path]"):
            type_ = "Mapping[str, Any] | None"
        types.append(f"    {each.name}: {type_}")
        lines += [*_comment(each.schema), types[-1]]
    found, _ = options.setdefault("\n".join(types), (name, "\n".join(lines) + "\n"))
    return found


def _comment(schema: dict[str, Any]) -> list[str]:
    description = " ".join(schema.get("description", "").split())
    sentence = re.split(r"(?<=[.;]) (?=[A-Z])", description)[0].rstrip(".;")
    return [f"    #: {part}" for part in wrap(f"{sentence}.", WIDTH - 7)] if sentence else []


def _parameter(field: Field) -> str:
    type_ = type_of(field.schema, SENT)
    return f"{field.argument}: {type_}" if field.is_required else f"{field.argument}: {optional(type_)} = None"


def _docstring(operation: Operation) -> str:
    sentence, *more = operation.call["help"].partition("\n")[0].split(". ", 1)
    if len(sentence) + sum(map(len, more)) + 17 <= WIDTH:
        return f'        """{". ".join([sentence, *more])}"""'
    lines = [f'"""{sentence}.', "", *wrap("".join(more), WIDTH - 8), '"""']
    return indent("\n".join(lines), "        ")


if __name__ == "__main__":
    sys.exit(write(MODULE, module(description())))
