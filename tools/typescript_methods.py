"""`make records`: write `clients/typescript/src/methods.ts` from the operations of the API. `--check` compares it.

`openapi-typescript` writes the types that the methods name.
"""

from __future__ import annotations

import json
import re
import sys
from textwrap import wrap
from typing import Any

from tools import client_methods
from tools.client_methods import Operation
from tools.client_records import WIDTH
from tools.openapi import ROOT, description, write

MODULE = ROOT / "clients/typescript/src/methods.ts"
HEAD = """// The methods of the client's resources. Written by `make records` from the operations of the API.
import type { CallOptions, CreateOptions } from "./calls.js";
import type { Job } from "./jobs.js";
import type { components } from "./openapi.js";
import { Resource, type PauseOptions } from "./resource.js";
import type { Query, Received, Sent } from "./wire.js";

type Schemas = components["schemas"];
"""
#: The methods that are written by hand in the class's subclass.
BY_HAND = {name: why for name, why in client_methods.BY_HAND.items() if name not in ("jobs.export", "jobs.retry")} | {
    "jobs.trigger": "the worker and its input are arguments",
    "containments.create": "`rehearse` has the dry run",
    "containments.jobs": "takes no query",
    "queues.counts": "the filter is an option",
    "schedules.firings": "takes no query",
    "schedules.next": "the count is an argument",
    "workers.delete": "the scope is an option",
    "workers.pause": "the scope is an option",
    "workers.resume": "the scope is an option",
}
_RECORDS = {
    "JobRecord": "Job",
    "LightJobRecord": "Job",
    "WorkerRecord": "ListedWorker",
    "WorkerWithSettingsRecord": "Worker",
}


def module(document: dict[str, Any]) -> str:
    """Return the text of the module."""
    resources = client_methods.by_resource(document)
    records = [name for name in document["components"]["schemas"] if name.endswith("Record") and _record(name) != "Job"]
    types = "".join(f'export type {_record(each)} = Received<Schemas["{each}"]>;\n' for each in sorted(records))
    return "\n".join([HEAD, types, *(_class(name, resources) for name in resources)])


def _class(resource: str, resources: dict[str, list[Operation]]) -> str:
    name = client_methods.title(resource)
    lines = [f"/** Calls about {client_methods.about(resource)}. */\nexport class {name}Calls extends Resource {{"]
    if f"{resource}.deliveries" in resources:
        lines.append(f"  readonly deliveries = new {name}DeliveriesCalls(this.calls);\n")
    methods = [_method(each) for each in resources[resource] if each.call["method"] not in BY_HAND]
    return "\n".join([*lines, "\n\n".join(methods), "}\n"])


def _method(operation: Operation) -> str:
    kind, name = operation.reply
    ids = [*map(camel, operation.ids[:-1]), *["id" for _ in operation.ids[-1:]]]
    sent, request = _sent(operation)
    place = f'"{operation.path}", [{", ".join(ids)}]'
    data = f'this.calls.data("{operation.verb.lower()}", {place}, {request})'
    result, code = {
        "records": ("AsyncGenerator<{}>", f"return this.calls.list({place}, {{ perPage: 100, ...query }}, options)"),
        "lines": ("AsyncGenerator<{}>", f"return this.calls.lines({place}, {'query' if sent[1:] else '{}'}, options)"),
        "none": ("Promise<void>", f"await {data}"),
        "count": ("Promise<number>", f"return (await {data}).{name}"),
        "array": ("Promise<{}[]>", f"return {data}"),
        "record": ("Promise<{}>", f"return {data}"),
    }[kind]
    if data in code and name == "LightJobRecord":
        code = f"return (await {data}) as Job"
    given = [*(f"{each}: string" for each in ids), *sent]
    head = f"  {'async ' if data in code else ''}{camel(operation.name)}("
    tail = f"): {result.format(_record(name))} {{"
    line = head + ", ".join(given) + tail
    if len(line) > WIDTH:
        line = "\n".join([head, *(f"    {each}," for each in given), f"  {tail}"])
    return f"{_comment(operation)}\n{line}\n    {code};\n  }}"


def _sent(operation: Operation) -> tuple[list[str], str]:
    """Return the parameters behind the ids, and the request with their values."""
    if operation.name == "pause":
        return ["{ reason, ...options }: PauseOptions = {}"], "{ ...options, body: { reason: reason ?? null } }"
    given = [f"options: {'CreateOptions' if operation.has_header('Idempotency-Key') else 'CallOptions'} = {{}}"]
    if body := operation.fields_of(operation.body_name):
        is_optional = operation.verb == "POST" and not any(each.is_required for each in body)
        type_ = f'Sent<Schemas["{operation.body_name}"]>'
        sent = "fields"
        if constants := {each.name: each.constant for each in body if each.constant is not None}:
            type_ = f"Omit<{type_}, {' | '.join(map(json.dumps, constants))}>"
            sent = f"{{ ...fields, ...{json.dumps(constants)} }}"
        return [f"fields: {type_}{' = {}' if is_optional else ''}", *given], f"{{ ...options, body: {sent} }}"
    if operation.reply[0] == "records" or operation.fields:
        return [f'query: Query<"{operation.path}"> = {{}}', *given], "{ ...options, query }"
    return given, "options"


def _comment(operation: Operation) -> str:
    sentence = operation.call["help"].partition("\n")[0]
    if len(sentence) + 9 <= WIDTH:
        return f"  /** {sentence} */"
    return "\n".join(["  /**", *(f"   * {line}" for line in wrap(sentence, WIDTH - 5)), "   */"])


def _record(schema: str) -> str:
    return _RECORDS.get(schema, schema.removesuffix("Record"))


def camel(name: str) -> str:
    """Return the name of a method or of an argument in TypeScript."""
    return re.sub(r"_(\w)", lambda letter: letter[1].upper(), name)


if __name__ == "__main__":
    sys.exit(write(MODULE, module(description())))
