"""The OpenAPI 3.1 description, made from the routes, their operations and the marshmallow schemas.

apispec, with its plugin for marshmallow, rather than flask-smorest: that one answers errors through webargs and
werkzeug in shapes and statuses of its own, which the contract has already decided.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask
from marshmallow import fields
from werkzeug.routing import Rule

from ava.api.auth import ROLES
from ava.api.fields import Choice, ClientId, Cursor, Flag, Id, Instant, JsonObject, Number, Text, WholeNumber
from ava.api.operations import Operation, find_operation
from ava.version import VERSION

__all__ = ["describe"]

_INTRODUCTION = (
    "A job is a single execution of a worker with a specific input payload. Jobs are asynchronous: triggering one "
    "returns immediately with a job record; execution happens in the background."
)

_FAILURES = {
    400: "The body is not one JSON object, a required field is missing, or a header or parameter is missing or wrong.",
    401: "The header x-internal-secret is missing or wrong.",
    403: "The role is unknown, or may not do this.",
    404: "There is no such thing for this tenant.",
    409: "The state forbids it.",
    413: "The body is too large.",
    415: "The body is not sent as application/json in UTF-8.",
    422: "A field is wrong: its type, range or choice, or it is not known.",
    429: "Too many requests.",
    500: "Something went wrong on our side.",
    503: "The database is out of reach.",
}
#: What every operation may answer.
_ALWAYS = (400, 401, 403, 500, 503)

_SECURITY = {
    "InternalSecret": ("x-internal-secret", "A shared key."),
    "TenantId": ("x-tenant-id", "The tenant, such as ten_01hxyz: everything read or written belongs to it."),
    "UserId": ("x-user-id", "Who acts, such as usr_01hxyz."),
    "PlatformRole": (
        "x-platform-role",
        f"One of {', '.join(ROLES)}; those that write need tenant-system-admin or above.",
    ),
}

_ERROR = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "request_id", "docs_url"],
            "additionalProperties": False,
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string", "description": "What is wrong, and what would be right."},
                "request_id": {"type": "string"},
                "docs_url": {"type": "string"},
                "fields": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                },
            },
        }
    },
}

_PAGINATION = {
    "type": "object",
    "required": ["page", "per_page", "total", "has_more", "next_cursor"],
    "properties": {
        "page": {"type": ["integer", "null"], "description": "Null where a cursor was followed."},
        "per_page": {"type": "integer"},
        "total": {"type": "integer", "description": "Exact up to 10,000; it stays there beyond."},
        "has_more": {"type": "boolean"},
        "next_cursor": {"type": ["string", "null"]},
    },
}
_LOG_PLACE = {
    "type": "object",
    "required": ["has_more", "next_cursor"],
    "properties": {"has_more": {"type": "boolean"}, "next_cursor": {"type": ["string", "null"]}},
}

_HEADERS = {
    "x-request-id": {"description": "The caller's own where it sent a sane one.", "schema": {"type": "string"}},
}


def describe(app: Flask) -> dict[str, Any]:
    """Describe every route of an application that has an operation."""
    plugin = MarshmallowPlugin()
    spec = APISpec(
        title="AVA Jobs",
        version=VERSION,
        openapi_version="3.1.0",
        info={"description": _INTRODUCTION, "license": {"name": "MIT", "identifier": "MIT"}},
        plugins=[plugin],
    )
    assert plugin.converter is not None
    plugin.converter.add_attribute_function(_attributes)  # type: ignore[no-untyped-call]
    _add_components(spec)
    for rule, method, operation, view in _operations(app):
        spec.path(path=_path(rule), operations={method: _operation(rule, operation, view)})
    description: dict[str, Any] = spec.to_dict()
    _drop_null_defaults(description)
    return description


def _drop_null_defaults(node: Any) -> None:
    """A default of None means that there is none; apispec writes it down all the same."""
    if isinstance(node, dict):
        if "default" in node and node["default"] is None:
            del node["default"]
        for inner in node.values():
            _drop_null_defaults(inner)
    elif isinstance(node, list):
        for inner in node:
            _drop_null_defaults(inner)


def _add_components(spec: APISpec) -> None:
    spec.components.schema("Error", _ERROR)
    spec.components.schema("Pagination", _PAGINATION)
    for name, (header, text) in _SECURITY.items():
        spec.components.security_scheme(name, {"type": "apiKey", "in": "header", "name": header, "description": text})
    for status, text in _FAILURES.items():
        failure: dict[str, Any] = {
            "description": text,
            "content": {"application/json": {"schema": "Error"}},
            "headers": dict(_HEADERS),
        }
        if status in (429, 503):
            failure["headers"]["Retry-After"] = {"description": "Seconds.", "schema": {"type": "integer"}}
        spec.components.response(f"Failure{status}", failure)


def _operations(app: Flask) -> Iterator[tuple[Rule, str, Operation, Callable[..., Any]]]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if (operation := find_operation(view)) is not None:
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule, method.lower(), operation, view


def _path(rule: Rule) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def _operation(rule: Rule, operation: Operation, view: Callable[..., Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{rule.endpoint.replace('.', '_')}",
        "tags": [rule.endpoint.split(".")[0]],
        "summary": operation.summary,
        "description": operation.description or (view.__doc__ or "").strip(),
        "security": [{name: [] for name in _SECURITY}],
        "parameters": [_path_parameter(name) for name in sorted(rule.arguments)],
        "responses": _responses(operation),
    }
    if operation.query.fields:
        described["parameters"].append({"in": "query", "schema": operation.query})
    if operation.body is not None:
        described["requestBody"] = {
            "required": not operation.may_be_empty,
            "content": {"application/json": {"schema": operation.body}},
        }
    return described


def _path_parameter(name: str) -> dict[str, Any]:
    return {"in": "path", "name": name, "required": True, "schema": {"type": "string"}}


def _responses(operation: Operation) -> dict[str, Any]:
    failures = sorted({*_ALWAYS, *operation.failures})
    headers: dict[str, Any] = dict(_HEADERS)
    if operation.status == 201:
        headers["Location"] = {"description": "Where the record is.", "schema": {"type": "string"}}
    success = {
        "description": "Done.",
        "headers": headers,
        "content": {operation.media_type: {"schema": _envelope(operation)}},
    }
    return {str(operation.status): success} | {str(status): f"Failure{status}" for status in failures}


def _envelope(operation: Operation) -> dict[str, Any]:
    if operation.answer is None:
        return {"type": "string"}
    if operation.is_list:
        return {
            "type": "object",
            "required": ["data", "pagination"],
            "properties": {"data": {"type": "array", "items": operation.answer}, "pagination": "Pagination"},
        }
    properties: dict[str, Any] = {"data": operation.answer}
    if type(operation.answer).__name__ == "JobLog":
        properties["pagination"] = _LOG_PLACE
    return {"type": "object", "required": list(properties), "properties": properties}


def _attributes(_: Any, field: fields.Field[Any], **__: Any) -> dict[str, Any]:
    """What apispec cannot know of our own fields."""
    found = next((make(field) for kind, make in _OF_FIELDS if isinstance(field, kind)), {})
    if field.allow_none and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    if field.allow_none and "enum" in found:
        found["enum"] = [*found["enum"], None]
    return found


_OF_FIELDS: tuple[tuple[type[fields.Field[Any]], Callable[[Any], dict[str, Any]]], ...] = (
    (WholeNumber, lambda field: {"type": "integer", "minimum": field.least, "maximum": field.most}),
    (Text, lambda _: {"type": "string"}),
    (Cursor, lambda _: {"type": "string"}),
    (Number, lambda _: {"type": "number"}),
    (Flag, lambda _: {"type": "boolean"}),
    (Choice, lambda field: {"type": "string", "enum": list(field.choices)}),
    (ClientId, lambda field: {"type": "string", "pattern": f"^{field.prefix}_[0-9a-z_]{{1,60}}$"}),
    (Id, lambda field: {"type": "string", "pattern": f"^{field.prefix}_"}),
    (Instant, lambda _: {"type": "string", "format": "date-time"}),
    (JsonObject, lambda _: {"type": "object", "default": {}}),
)
