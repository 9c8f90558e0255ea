"""Generate the OpenAPI 3.1 description from the routes, their operations and the marshmallow schemas.

Uses apispec with its marshmallow plugin. Not flask-smorest: the forms and statuses of its errors (from webargs and
werkzeug) differ from the contract's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Flask
from marshmallow import Schema, fields
from werkzeug.routing import Rule

from ava.api import openapi_parts as parts
from ava.api.http.calls import describe_call
from ava.api.http.fields import (
    BoundedString,
    Choice,
    ClientId,
    Cursor,
    FieldNames,
    Flag,
    Id,
    Instant,
    JsonObject,
    Number,
    PositiveNumber,
    String,
    WholeNumber,
)
from ava.api.http.operations import NDJSON, Operation, find_operation
from ava.api.http.strict import Changes, Strict
from ava.api.openapi_examples import add_examples
from ava.api.schemas.events import SentEventRecord
from ava.api.schemas.setting_fields import ENTRY_NAME, LONGEST_ENTRY, NamedStrings
from ava.version import VERSION


def describe(app: Flask, *, public_url: str = "") -> dict[str, Any]:
    """Return the description of every route of an application that has an operation.

    `public_url` is the API's URL for clients; without it, the server is the host that serves the description.
    """
    spec = APISpec(
        title="AVA Jobs",
        version=VERSION,
        openapi_version="3.1.0",
        info={"description": parts.INTRODUCTION, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": public_url or "/"}],
        plugins=[_Plugin()],
    )
    _add_components(spec)
    for rule, method, operation, view in _operations(app):
        spec.path(path=_path(rule), operations={method: _operation(rule, method, operation, view)})
    description: dict[str, Any] = spec.to_dict()
    add_examples(description)
    return description


class _Converter(OpenAPIConverter):
    """Add facts that apispec lacks: our fields, the required fields of records, and the strictness of inputs."""

    def field2property(self, field: fields.Field[Any]) -> dict[str, Any]:
        found: dict[str, Any] = super().field2property(field) | _attributes(field)
        # Generated clients would require a field of a request that has a default, so words state it.
        default = found.pop("default", None)
        if not isinstance(field.root, Strict):
            values = found.pop("enum", ())
            found |= parts.open_enum(values, found.get("description", "")) if values else {}
        elif default not in (None, "", ()):
            shown = f"`{default}`" if isinstance(default, str) else json.dumps(default)
            found["description"] = f"{found.get('description', '')} Default: {shown}.".lstrip()
        # Generated clients would treat an object without named fields as empty.
        if "object" in found.get("type", ()) and "properties" not in found:
            found.setdefault("additionalProperties", True)
        return found

    def schema2jsonschema(self, schema: Schema) -> dict[str, Any]:
        """Return the description of a schema. Light records have only the requested fields, others all of theirs."""
        found: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        name = type(schema).__name__
        if name in parts.EXAMPLES:
            found["example"] = parts.EXAMPLES[name]
        if isinstance(schema, Strict):
            found["additionalProperties"] = False
            if name.endswith("Filter") or isinstance(schema, Changes):
                found["minProperties"] = 1
        elif not name.startswith("Light"):
            found["required"] = [each for each in found["properties"] if each not in parts.OPTIONAL.get(name, ())]
        # Only some callers get this field, and some generated clients refuse fields without a description.
        if name in parts.HIDING or any("payload" in field.metadata for field in schema.fields.values()):
            found["properties"]["payload_hidden"] = parts.PAYLOAD_HIDDEN
        return found


class _Plugin(MarshmallowPlugin):
    Converter = _Converter


def properties(schema: Schema, names: str) -> dict[str, Any]:
    """Return the descriptions of fields of a body, or of parameters of a query, by their names without `filter[…]`."""
    plugin = _Plugin()
    APISpec(title="AVA Jobs", version=VERSION, openapi_version="3.1.0", plugins=[plugin])
    assert plugin.converter is not None
    found = plugin.converter.schema2jsonschema(schema)["properties"]  # type: ignore[no-untyped-call]
    return {name: found.get(name) or found[f"filter[{name}]"] for name in names.split()}


def _add_components(spec: APISpec) -> None:
    spec.components.schema("Error", parts.ERROR | {"example": parts.EXAMPLES["Error"]})
    spec.components.schema("Pagination", parts.PAGINATION)
    spec.components.schema("SentEventRecord", schema=SentEventRecord())
    for name, (header, description) in parts.SECURITY.items():
        spec.components.security_scheme(
            name, {"type": "apiKey", "in": "header", "name": header, "description": description}
        )
    bearer = {"type": "http", "scheme": "bearer", "description": parts.BEARER_TEXT}
    spec.components.security_scheme(parts.BEARER, bearer)
    cookie = {"type": "apiKey", "in": "cookie", "name": "ava_session", "description": parts.COOKIE_TEXT}
    spec.components.security_scheme(parts.COOKIE, cookie)
    for status, description in parts.FAILURES.items():
        failure: dict[str, Any] = {
            "description": description,
            "content": {"application/json": {"schema": "Error"}},
            "headers": {name: parts.GIVEN[name] for name in parts.HEADERS},
        }
        if status in (429, 503):
            failure["headers"]["Retry-After"] = parts.GIVEN["Retry-After"]
        spec.components.response(f"Failure{status}", failure)


def _operations(app: Flask) -> Iterator[tuple[Rule, str, Operation, Callable[..., Any]]]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if (operation := find_operation(view)) is not None:
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule, method.lower(), operation, view


def _path(rule: Rule) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def _operation(rule: Rule, method: str, operation: Operation, view: Callable[..., Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _id(operation),
        "tags": re.findall(r"/v1/(?:ava/)?(\w+)", rule.rule)[:1],
        "summary": operation.summary,
        "description": operation.description or (view.__doc__ or "").strip(),
        "security": _security(rule, view),
        "parameters": [_path_parameter(name) for name in sorted(rule.arguments)],
        "responses": _responses(operation),
    }
    if operation.query.fields:
        described["parameters"].append({"in": "query", "schema": operation.query})
    described["parameters"] += [_header(name) for name in _headers_taken(operation)]
    if operation.body is not None:
        described["requestBody"] = {
            "required": not operation.may_be_empty,
            "content": {"application/json": {"schema": operation.body}}
            | {
                media: {"schema": parts.CLOUD_EVENTS if isinstance(example, list) else parts.CLOUD_EVENT}
                | {"example": example}
                for media, example in operation.other_media.items()
            },
        }
    if operation.call is not None:
        described["x-ava-call"] = describe_call(operation.call, method, _path(rule), operation.summary)
    return described


def _id(operation: Operation) -> str:
    """Return the name that generated clients give an operation: `trigger_job` for "Trigger a job"."""
    words = re.findall(r"\w+", operation.summary.lower().replace("'s", ""))
    return "_".join(word for word in words if word not in ("a", "an", "the"))


def _security(rule: Rule, view: Callable[..., Any]) -> list[dict[str, list[str]]]:
    """Return the alternative ways to authenticate. Calls of a run carry its token elsewhere."""
    if getattr(view, "is_open_to_all", False) or "run" in rule.arguments:
        return [{}, {parts.BEARER: []}]
    return [{name: [] for name in parts.SECURITY}, {parts.BEARER: []}, {parts.COOKIE: []}]


def _path_parameter(name: str) -> dict[str, Any]:
    prefix = {
        "job_id": "job",
        "schedule_id": "sch",
        "operation_id": "op",
        "hook_id": "hk",
        "subscription_id": "sub",
    }.get(name)
    schema = {"type": "string"} if prefix is None else {"type": "string", "pattern": f"^{prefix}_"}
    return {"in": "path", "name": name, "required": True, "schema": schema}


def _headers_taken(operation: Operation) -> list[str]:
    taken = ["Idempotency-Key"] if operation.takes_key else []
    if operation.takes_durability:
        taken.append("Durability")
    if operation.media_type == "text/event-stream":
        taken.append("Last-Event-ID")
    return [*taken, "If-None-Match"] if operation.may_be_unchanged else taken


def _header(name: str) -> dict[str, Any]:
    return {"in": "header", "name": name, "required": False, **parts.TAKEN[name]}


def _responses(operation: Operation) -> dict[str, Any]:
    failures = sorted({*parts.ALWAYS, *operation.failures})
    success = {
        "description": "Success.",
        "headers": {name: parts.GIVEN[name] for name in _headers_given(operation)},
        "content": {operation.media_type: {"schema": _envelope(operation)}},
    }
    others = {
        str(status): success | {"content": {operation.media_type: {"schema": _enveloped(record)}}}
        for status, record in operation.other_records.items()
    }
    described = {str(operation.status): success} | others | {str(status): f"Failure{status}" for status in failures}
    if operation.may_be_unchanged:
        described["304"] = {
            "description": "Not modified: the record still has the ETag in If-None-Match.",
            "headers": success["headers"],
        }
    return described


def _headers_given(operation: Operation) -> list[str]:
    given = [*parts.HEADERS]
    if operation.status in (201, 202):
        given.append("Location")
    if operation.takes_key:
        given.append("Idempotent-Replayed")
    if operation.takes_durability:
        given.append("Durability")
    if type(operation.body).__name__ == "TriggerBody":
        given.append("Existing-Job")
    if operation.reads_standby:
        given.append("Ava-Replica-Lag-Ms")
    return [*given, "ETag"] if operation.may_be_unchanged else given


def _envelope(operation: Operation) -> dict[str, Any] | Schema:
    if operation.record is None:
        return {"type": "string"}
    if operation.media_type == NDJSON:
        # OpenAPI 3.1 cannot describe a stream: the schema describes each line.
        return operation.record
    if operation.is_list:
        return {
            "type": "object",
            "required": ["data", "pagination"],
            "properties": {"data": {"type": "array", "items": operation.record}, "pagination": "Pagination"},
        }
    data = {"type": "array", "items": operation.record} if operation.is_array else operation.record
    properties: dict[str, Any] = {"data": data}
    if type(operation.record).__name__ == "SentEventRecord":
        # Generated Java does not compile with a choice of a record and an array.
        properties["data"] = parts.SENT_EVENTS
    if type(operation.record).__name__ == "JobLogRecord":
        properties["pagination"] = parts.LOG_PLACE
    return {"type": "object", "required": list(properties), "properties": properties}


def _enveloped(record: Schema) -> dict[str, Any]:
    return {"type": "object", "required": ["data"], "properties": {"data": record}}


def _attributes(field: fields.Field[Any]) -> dict[str, Any]:
    """Return the attributes of our own fields, which apispec does not know."""
    found = next((make(field) for kind, make in _OF_FIELDS if isinstance(field, kind)), {})
    if field.allow_none and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    if field.allow_none and "enum" in found:
        found["enum"] = [*found["enum"], None]
    return found


def _positive(field: PositiveNumber) -> dict[str, Any]:
    low = {"exclusiveMinimum": 0} if field.minimum is None else {"minimum": field.minimum}
    return {"type": "number", **low, "maximum": field.maximum}


def _entries(field: NamedStrings) -> dict[str, Any]:
    schema = {"type": ["string", "null"], "minLength": field.shortest, "maxLength": LONGEST_ENTRY}
    return {
        "type": "object",
        "maxProperties": field.limit.value,
        "propertyNames": {"pattern": f"^{ENTRY_NAME.pattern}$"},
        "additionalProperties": schema,
    }


_OF_FIELDS: tuple[tuple[type[fields.Field[Any]], Callable[[Any], dict[str, Any]]], ...] = (
    (WholeNumber, lambda field: {"type": "integer", "minimum": field.minimum, "maximum": field.maximum}),
    (BoundedString, lambda field: {"type": "string", "minLength": field.shortest, "maxLength": field.longest}),
    (String, lambda _: {"type": "string"}),
    (FieldNames, lambda field: {"type": "string", "pattern": field.pattern}),
    (Cursor, lambda _: {"type": "string", "minLength": 1}),
    (PositiveNumber, _positive),
    (NamedStrings, _entries),
    (Number, lambda _: {"type": "number"}),
    (Flag, lambda _: {"type": "boolean"}),
    (Choice, lambda field: {"type": "string", "enum": list(field.choices)}),
    (ClientId, lambda field: {"type": "string", "pattern": f"^{field.prefix}_[0-9a-z_]{{1,60}}$"}),
    (Id, lambda field: {"type": "string", "pattern": field.pattern}),
    (Instant, lambda _: {"type": "string", "format": "date-time"}),
    (JsonObject, lambda _: {"type": "object"}),
)
