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
from tests.integration.test_callers_matrix import Call, Matrix, calls_of
from tests.integration.test_payload_permission import fill

#: The schema says which of them a field may have.
_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 2.5, 10**400, "", "2", "\0", "X y", "x" * 5_000),
    *([], [None], [[]], {}, {"\0": None}, {"a": {"b": []}}),
)
_TEXTS = ("", "x", "-1", "0", "1.5", "9" * 30, "\0", "a,b")
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


def _fields(description: dict[str, Any], call: Call) -> dict[str, Any]:
    """Return the fields of the body of a call with their schemas."""
    if not isinstance(call.body, dict):
        return {}
    schema = _operation(description, call)["requestBody"]["content"]["application/json"]["schema"]
    while "$ref" in schema:
        schema = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    found: dict[str, Any] = schema.get("properties", {})
    return found


def _wrong(description: dict[str, Any], schema: dict[str, Any]) -> Iterator[Any]:
    """Yield the values that a schema does not allow."""
    validator = jsonschema_rs.validator_for(schema | {"components": description["components"]}, validate_formats=True)
    yield from (value for value in _VALUES if not validator.is_valid(value))
    # JSON Schema takes 2.0 as an integer, and the contract does not.
    if "integer" in str(schema.get("type")):
        yield 2.0


def _named(response: TestResponse) -> set[str]:
    """Return the fields that an error names, without what is wrong below them."""
    error = response.get_json()["error"]
    return {re.split(r"[.\[]", name)[0] for name in error.get("fields", {})}


def test_a_wrong_or_unknown_field_is_refused_by_its_name(matrix: Matrix, description: dict[str, Any]) -> None:
    before, missed, count = matrix.snapshot(), [], 0
    for call in matrix.calls:
        fields = _fields(description, call)
        tried = [(name, value) for name, schema in fields.items() for value in _wrong(description, schema)]
        for name, value in [*tried, *[(each, 1) for each in ("unknown", "\0", "\ud800") if fields]]:
            response = matrix.api.request(call.method, call.path, json=call.body | {name: value}, headers=_OPERATOR)
            if response.status_code not in (400, 422) or name not in _named(response):
                missed.append((call.name, name, ascii(value)[:40], response.status_code))
        count += len(tried)
    assert missed == []
    assert count > 1_000
    assert matrix.snapshot() == before


def test_one_response_names_every_wrong_field(matrix: Matrix, description: dict[str, Any]) -> None:
    for call in matrix.calls:
        wrong = {name: next(_wrong(description, schema), ...) for name, schema in _fields(description, call).items()}
        body = {name: value for name, value in wrong.items() if value is not ...}
        if body:
            response = matrix.api.request(call.method, call.path, json=body, headers=_OPERATOR)
            assert _named(response) >= body.keys(), call.name


def test_a_wrong_parameter_is_400_and_named(matrix: Matrix, description: dict[str, Any]) -> None:
    missed, count = [], 0
    for call in matrix.calls:
        for each in _operation(description, call).get("parameters", []):
            if each["in"] != "query":
                continue
            for text in _TEXTS:
                if not _is_allowed(description, each["schema"], text):
                    query = {each["name"]: text}
                    response = matrix.api.request(call.method, call.path, query_string=query, headers=_OPERATOR)
                    count += 1
                    if response.status_code != 400 or each["name"] not in response.get_json()["error"].get(
                        "fields", {}
                    ):
                        missed.append((call.name, each["name"], text, response.status_code))
    assert missed == []
    assert count > 200


def _is_allowed(description: dict[str, Any], schema: dict[str, Any], text: str) -> bool:
    is_number = "integer" in str(schema.get("type")) and re.fullmatch(r"-?\d+", text)
    value = int(text) if is_number else {"true": True, "false": False}.get(text, text)
    return bool(jsonschema_rs.is_valid(schema | {"components": description["components"]}, value))
