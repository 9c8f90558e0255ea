"""Every body and query of /openapi.json with a wrong value: refused by the name of the field, and without effect.

What a value may be is the schema's, so a field that is added is tried here with all others. A request costs a fifteenth
of one that schemathesis sends, which therefore tries valid values alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from werkzeug.test import TestResponse

from harness.api import Api
from tests.integration.described_calls import Call, calls_of
from tests.integration.test_callers_matrix import Matrix
from tests.integration.test_payload_permission import fill

#: The schema says which of them a field may have.
_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 2.5, 10**400, "", "2", "\0", "X y", "x" * 5_000),
    *([], [None], [[]], {}, {"\0": None}, {"a": {"b": []}}),
)
_STRINGS = ("", "x", "-1", "0", "1.5", "9" * 30, "\0", "a,b")
_OPERATOR = {"x-platform-role": "platform-system-admin"}


@pytest.fixture(scope="module")
def matrix(shared_api: Api) -> Matrix:
    calls = calls_of(shared_api, fill(shared_api))
    # Calls of runs need a worker's key or a run's token, and those of a session its cookie; they have their own tests.
    others = ("/v1/ava/runs/", "/v1/ava/session")
    return Matrix(api=shared_api, calls=[each for each in calls if not each.path.startswith(others)], ids=[])


@pytest.fixture(scope="module")
def description(shared_api: Api) -> dict[str, Any]:
    found: dict[str, Any] = shared_api.get("/openapi.json").get_json()
    return found


def _operation(description: dict[str, Any], call: Call) -> dict[str, Any]:
    method, path = call.name.split()
    found: dict[str, Any] = description["paths"][path][method.lower()]
    return found


def _body(description: dict[str, Any], call: Call) -> dict[str, Any]:
    """Return the schema of the body of a call, which is empty if it has none."""
    if not isinstance(call.body, dict):
        return {}
    content = _operation(description, call)["requestBody"]["content"]
    return _resolved(description, content["application/json"]["schema"])


def _fields(description: dict[str, Any], call: Call) -> dict[str, Any]:
    """Return the fields of the body of a call with their schemas."""
    found: dict[str, Any] = _body(description, call).get("properties", {})
    return found


def _resolved(description: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema to which a reference leads, or of the only choice that is not null."""
    while True:
        choices = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
        if "$ref" in schema:
            schema = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        elif len(choices) == 1:
            schema = choices[0]
        else:
            return schema


def _tries(description: dict[str, Any], fields: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield a field, a wrong value of it, and the name of what is wrong in it: the field, or what is within it."""
    for name, schema in fields.items():
        yield from ((name, name, value) for value in _wrong(description, schema))
        outer = _resolved(description, schema)
        is_list = "items" in outer
        inner = _resolved(description, outer["items"]) if is_list else outer
        prefix = f"{name}[0]." if is_list else f"{name}."
        within = inner.get("properties", {})
        for top, path, value in _tries(description, within):
            yield name, prefix + path, [{top: value}] if is_list else {top: value}
        if within:
            yield name, f"{prefix}unknown", [{"unknown": 1}] if is_list else {"unknown": 1}


def _wrong(description: dict[str, Any], schema: dict[str, Any]) -> Iterator[Any]:
    """Yield the values that a schema does not allow."""
    validator = jsonschema_rs.validator_for(schema | {"components": description["components"]}, validate_formats=True)
    exact = _resolved(description, schema)
    beyond = [exact[name] + step for name, step in (("minimum", -1), ("maximum", 1)) if name in exact]
    beyond += ["x" * (exact[name] + step) for name, step in (("minLength", -1), ("maxLength", 1)) if name in exact]
    yield from (value for value in (*_VALUES, *beyond) if not validator.is_valid(value))
    # JSON Schema takes 2.0 as an integer, and the contract does not.
    if "integer" in str(schema.get("type")):
        yield 2.0


def _named(response: TestResponse) -> list[str]:
    """Return the fields that an error names."""
    return [*response.get_json()["error"].get("fields", {})]


def test_a_wrong_or_unknown_field_is_refused_by_its_name(matrix: Matrix, description: dict[str, Any]) -> None:
    before, missed, count = matrix.snapshot(), [], 0
    for call in matrix.calls:
        fields = _fields(description, call)
        tried = [*_tries(description, fields), *[(each, each, 1) for each in ("unknown", "\0", "\ud800") if fields]]
        for name, path, value in tried:
            response = matrix.api.request(call.method, call.path, json=call.body | {name: value}, headers=_OPERATOR)
            if response.status_code not in (400, 422) or not any(each.startswith(path) for each in _named(response)):
                missed.append((call.name, path, ascii(value)[:40], response.status_code, ascii(_named(response))[:200]))
        count += len(tried)
    assert missed == []
    assert count > 1_000
    assert matrix.snapshot() == before


def test_a_missing_field_is_400_and_named(matrix: Matrix, description: dict[str, Any]) -> None:
    missed, count = [], 0
    for call in matrix.calls:
        for name in _body(description, call).get("required", ()):
            body = {other: value for other, value in call.body.items() if other != name}
            response = matrix.api.request(call.method, call.path, json=body, headers=_OPERATOR)
            if response.status_code != 400 or name not in _named(response):
                missed.append((call.name, name, response.status_code))
            count += 1
    assert missed == []
    assert count > 20


def test_a_change_without_a_field_is_refused(matrix: Matrix, description: dict[str, Any]) -> None:
    calls = [call for call in matrix.calls if "minProperties" in _body(description, call)]
    responses = {call.name: matrix.api.request(call.method, call.path, json={}, headers=_OPERATOR) for call in calls}
    assert {name for name, response in responses.items() if response.status_code != 422} == set()
    assert len(responses) >= 6


def test_one_response_names_every_wrong_field(matrix: Matrix, description: dict[str, Any]) -> None:
    for call in matrix.calls:
        wrong = {name: next(_wrong(description, schema), ...) for name, schema in _fields(description, call).items()}
        body = {name: value for name, value in wrong.items() if value is not ...}
        if body:
            response = matrix.api.request(call.method, call.path, json=body, headers=_OPERATOR)
            assert {re.split(r"[.\[]", name)[0] for name in _named(response)} >= body.keys(), call.name


def test_a_wrong_or_unknown_parameter_is_400_and_named(matrix: Matrix, description: dict[str, Any]) -> None:
    missed, count = [], 0
    for call in matrix.calls:
        given = [each for each in _operation(description, call).get("parameters", []) if each["in"] == "query"]
        wrong = [
            (each["name"], string)
            for each in given
            for string in _STRINGS
            if not _is_allowed(description, each, string)
        ]
        # The sender of a delivery may have parameters of its own.
        unknown = [] if call.path.startswith("/v1/hooks/") else [("unknown", "1")]
        for name, string in wrong + unknown:
            response = matrix.api.request(call.method, call.path, query_string={name: string}, headers=_OPERATOR)
            if response.status_code != 400 or name not in _named(response):
                missed.append((call.name, name, string, response.status_code))
        count += len(wrong)
    assert missed == []
    assert count > 200


def _is_allowed(description: dict[str, Any], parameter: dict[str, Any], string: str) -> bool:
    schema = parameter["schema"]
    is_number = "integer" in str(schema.get("type")) and re.fullmatch(r"-?\d+", string)
    value = int(string) if is_number else {"true": True, "false": False}.get(string, string)
    return bool(jsonschema_rs.is_valid(schema | {"components": description["components"]}, value))
