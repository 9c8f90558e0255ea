"""`make records`: write `ava/client/records.py` from the schemas of the API's records. `--check` compares it."""

from __future__ import annotations

import re
import sys
from textwrap import wrap
from typing import Any

from marshmallow import class_registry

from ava.api.openapi_parts import KNOWN_VALUES
from tools.openapi import ROOT, description, write

MODULE = ROOT / "ava/client/records.py"
HEAD = '''"""The API's records. Written by `make records` from the schemas of the API.

A record may lack a field that has a default. One generated file, because nobody edits it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ava.client.reading import JobProperties, OpenEnum, OperationProperties, TreeProperties
'''
#: The classes, in the order of the module. The schema of one is that of its name, unless SCHEMAS has another.
_NAMES = (
    "Job LogLine Operation Worker WorkerLimit Actor Pause QueueCount Queue Queues Limit Explanation "
    "Schedule ScheduleSlot SchedulePreview Firing ApiKey ErrorGroup SentEvent ReceivedEvent Subscription "
    "TriedSubscription Hook HookTest Webhook Notice Delivery Overview Analytics Series Node "
    "ApprovalDecision Approval "
    "Promotion TenantLoad TenantRules AuditEntry JobRun TreeJob TreeEdge Tree JournalEntry JobWait "
    "ContainedRun Containment RehearsedWorker Rehearsal Proofs"
)
CLASSES = _NAMES.split()
SCHEMAS = {
    "QueueCount": "WorkerCountRecord",
    "Series": "ChartSeriesRecord",
    "ScheduleSlot": "SlotRecord",
    "SchedulePreview": "PreviewRecord",
    "ApiKey": "KeyRecord",
    "ReceivedEvent": "EventRecord",
    "TriedSubscription": "SubscriptionTestRecord",
    "TenantRules": "TenantLimitsRecord",
}
BASES = {"Job": "JobProperties", "Operation": "OperationProperties", "Tree": "TreeProperties", "TreeJob": "Job"}
#: Schemas with more fields, which the responses of some operations have.
LARGER = {"Job": "LightJobRecord", "Worker": "WorkerWithSettingsRecord", "ApiKey": "CreatedKeyRecord"}
#: What OpenAPI does not say: names that Python reserves, times without an offset, and what no log may show.
RENAMED = {"TreeEdge.from": "from_id", "TreeEdge.to": "to_id"}
LOCAL_TIMES = ("ScheduleSlot.slot", "Firing.slot")
SECRETS = ("ApiKey.token", "Hook.url", "Hook.secret")
#: The field of a record without its payloads; of a class only the job's is of use.
_HIDDEN = "payload_hidden"
_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
#: The types of received and of sent values, by the type or format of their schemas.
_RECEIVED = {"array": "list", "object": "dict", "date-time": "datetime"}
SENT = {"array": "Sequence", "object": "Mapping", "date-time": "datetime | str"}
_EMPTY = {"list": "field(default_factory=list)", "dict": "field(default_factory=dict)", "bool": "False"}
_REFERENCES = {SCHEMAS.get(name, f"{name}Record"): name for name in CLASSES}
WIDTH = 120


def module(schemas: dict[str, Any]) -> str:
    """Return the text of the module, from the schemas of the OpenAPI description."""
    enums: dict[tuple[str, ...], str] = {}
    classes = [_class(name, schemas, enums) for name in CLASSES]
    return "\n\n".join([HEAD, *(_enum(name, values) for values, name in enums.items()), *classes])


def _enum(name: str, values: tuple[str, ...]) -> str:
    members = "".join(f'    {re.sub(r"[^A-Z0-9]", "_", value.upper())} = "{value}"\n' for value in values)
    return f'class {name}(OpenEnum):\n    """The values of a field; a newer server may return others."""\n\n{members}'


def _class(name: str, schemas: dict[str, Any], enums: dict[tuple[str, ...], str]) -> str:
    """Return the class of a record. Adds the enumerations of its fields to `enums`: their names by their values."""
    schema, base = SCHEMAS.get(name, f"{name}Record"), BASES.get(name)
    own = schemas[schema]
    inherited = schemas[LARGER["Job"]]["properties"] if base == "Job" else ()
    description = str(class_registry.get_class(schema).__doc__).splitlines()[0]  # type: ignore[union-attr]
    head = f"class {name}({base})" if base else f"class {name}"
    lines = [f'@dataclass(frozen=True, kw_only=True)\n{head}:\n    """{_in_python(description)}"""\n']
    for field, found in (own["properties"] | schemas[LARGER.get(name, schema)]["properties"]).items():
        path = f"{name}.{field}"
        if field not in inherited and (field != _HIDDEN or name == "Job"):
            is_optional = field not in own["required"]
            type_ = "datetime" if path in LOCAL_TIMES else type_of(found)
            if values := tuple(found.get(KNOWN_VALUES, ())):
                type_ = type_.replace("str", enums.setdefault(values, name + field.title().replace("_", "")))
            if is_optional and field in own["properties"] and type_ != "bool":
                type_ += " | None"
            value = _default(path, type_, is_optional=is_optional)
            lines += _line(f"    {RENAMED.get(path, field)}: {type_}{value}", _comment(found, schemas))
    return "\n".join(lines) + "\n"


def type_of(schema: Any, words: dict[str, str] = _RECEIVED) -> str:
    """Return the type of values of a schema, in the words of values that are received or sent."""
    if "$ref" in schema:
        return _REFERENCES.get(schema["$ref"].split("/")[-1], f"{words['object']}[str, Any]")
    if "anyOf" in schema:
        return optional(type_of(schema["anyOf"][0], words))
    types = schema.get("type")
    kind, *others = types if isinstance(types, list) else [types]
    if kind == "array":
        found = f"{words['array']}[{type_of(schema['items'], words)}]"
    elif kind == "object":
        values = schema.get("additionalProperties")
        found = f"{words['object']}[str, {type_of(values, words) if isinstance(values, dict) else 'Any'}]"
    else:
        found = words.get(schema.get("format", ""), _SCALARS.get(kind, "Any"))
    return optional(found) if others else found


def optional(type_: str) -> str:
    """Return a type with None."""
    return type_ if type_ == "Any" or type_.endswith("| None") else f"{type_} | None"


def _default(path: str, type_: str, *, is_optional: bool) -> str:
    """Return what a field's line has after its type."""
    if path in RENAMED:
        return f' = field(metadata={{"name": "{path.split(".")[1]}"}})'
    if path in SECRETS:
        return " = field(default=None, repr=False)"
    if type_.endswith(" | None") or type_ == "Any":
        return " = None"
    return f" = {_EMPTY[type_.partition('[')[0]]}" if is_optional else ""


def _comment(schema: Any, schemas: dict[str, Any]) -> str:
    """Return the first sentence that describes a field: its unit, its values, the names of what it holds."""
    description = schema.get("description", "").partition("Known values: ")[0].split(". ")[0].removesuffix(".")
    inner = schema.get("items") or schema.get("additionalProperties") or schema.get("anyOf", [schema])[0]
    reference = inner.get("$ref", "").split("/")[-1] if isinstance(inner, dict) else ""
    names = schema.get(KNOWN_VALUES, ()) if not description else ()
    if reference and reference not in _REFERENCES:
        names = schemas[reference]["properties"]
    listed = ", ".join(f"`{name}`" for name in names)
    if not description and schema.get("maximum", 2**31) < 2**31:
        description = f"{schema.get('minimum', 0)} to {schema['maximum']:g}"
    return _in_python(": ".join(filter(None, (description, listed))) + ".") if description or listed else ""


def _in_python(sentence: str) -> str:
    return re.sub(r"\bNull\b", "None", re.sub(r"\bnull\b", "None", sentence))


def _line(code: str, comment: str) -> list[str]:
    if not comment or len(code) + len(comment) + 4 <= WIDTH:
        return [f"{code}  # {comment}" if comment else code]
    return [*(f"    #: {part}" for part in wrap(comment, WIDTH - 7)), code]


if __name__ == "__main__":
    sys.exit(write(MODULE, module(description()["components"]["schemas"])))
