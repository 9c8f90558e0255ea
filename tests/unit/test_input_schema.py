"""Inputs are compared with a schema within bounded time, and each wrong place is named."""

from __future__ import annotations

import json
import time
from random import Random
from typing import Any

import pytest

from ava.domain.input_schema import InputSchema, check_schema
from ava.domain.schema_costs import TENANTS

NOTIFY = {
    "type": "object",
    "properties": {
        "channel": {"type": "string", "pattern": "^#[a-z-]+$"},
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
        "at": {"type": "string", "format": "date-time"},
    },
    "required": ["channel"],
    "additionalProperties": False,
    "$defs": {"item": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}},
}


def _faults(value: Any, schema: dict[str, Any] = NOTIFY) -> dict[str, list[str]]:
    return InputSchema(check_schema(schema)).faults(json.dumps(value))


@pytest.mark.parametrize(
    ("reference", "definitions"),
    [
        ("#/$defs/percent%25field", {"percent%field": {"type": "integer"}}),
        ("#/%24defs/a~1b%20c", {"a/b c": {"type": "integer"}}),
        ("#/$defs/a%2Fb", {"a": {"b": {"type": "integer"}}}),
    ],
)
def test_a_reference_may_be_percent_encoded(reference: str, definitions: dict[str, Any]) -> None:
    schema = InputSchema(json.dumps({"properties": {"n": {"$ref": reference}}, "$defs": definitions}))
    assert (schema.faults('{"n": 1}'), list(schema.faults('{"n": "x"}'))) == ({}, ["input.n"])
    with pytest.raises(ValueError, match="refers to itself"):
        InputSchema(json.dumps({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/%24defs/a"}}}}))


def test_an_input_that_matches_has_no_faults() -> None:
    assert _faults({"channel": "#ops", "items": [{"id": 10**400}], "at": "2025-06-01T10:00:00Z"}) == {}


@pytest.mark.parametrize(
    ("value", "faults"),
    [
        ({}, {"input.channel": ["It is missing, and the worker's schema requires it."]}),
        ({"channel": 5}, {"input.channel": ['It is not of type "string".']}),
        (
            {"channel": "ops", "items": [{"id": 1}, {}], "x": 1},
            {
                "input.channel": ['It does not match "^#[a-z-]+$".'],
                "input.items[1].id": ["It is missing, and the worker's schema requires it."],
                "input.x": ["It is unknown; the worker's schema has no such field."],
            },
        ),
        ({"channel": "#ops", "at": "tomorrow"}, {"input.at": ['It is not a "date-time".']}),
        ({"channel": "#ops", "items": [{"id": "\ud800"}]}, {"input.items[1].id": ['It is not of type "integer".']}),
    ],
)
def test_the_path_of_each_fault_is_named(value: Any, faults: dict[str, list[str]]) -> None:
    assert {path.replace("[0]", "[1]"): found for path, found in _faults(value).items()} == faults


@pytest.mark.parametrize("value", ["\ud800", "\0", "x" * 100_000, "\U0001f600"])
def test_hostile_strings_are_checked_like_others(value: str) -> None:
    assert list(_faults({"channel": value})) == ["input.channel"]
    assert list(_faults({value: 1, "channel": "#ops"})) == [f"input.{value[:100]}".replace("\ud800", "\ufffd")]


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "text"}, "type: "),
        ({"properties": {"a": {"pattern": r"(a)\1"}}}, "properties/a/pattern: the pattern cannot be used"),
        ({"pattern": "(?=a)"}, "uses look-around or back-references"),
        ({"pattern": "(a{1000}){1000}"}, "is too large"),
        ({"patternProperties": {"(?!x)": {}}}, "the pattern cannot be used"),
        ({"$ref": "https://example.com/schema"}, r"\$ref must be a path in the same schema"),
        ({"$ref": "file:///etc/passwd"}, r"\$ref must be a path in the same schema"),
        ({"$ref": "#/$defs/none"}, r"\$ref #/\$defs/none does not exist in the schema"),
        ({"properties": {"a": {"$ref": "#"}}}, "refers to itself"),
        ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}, "refers to itself"),
        ({"$dynamicRef": "#a"}, r"\$dynamicRef is not accepted"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, r"\$schema must be"),
        ({"enum": [float("nan")]}, "without NaN, infinity or Python objects"),
        ({"description": "x" * 70_000}, "at most 65536 are accepted"),
        ({"allOf": [{"type": "object"}] * 1_000}, "too many parts"),
        ({"properties": {"x": {"enum": [{"number": number} for number in range(500)]}}}, "objects and lists in enum"),
        ({"items": {"const": [list(range(2_000))]}}, "objects and lists in enum"),
    ],
)
def test_a_schema_that_is_wrong_or_unsafe_is_refused(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_schema(schema)


def test_a_schema_whose_choices_nest_too_deep_is_refused() -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(12):
        schema = {"anyOf": [schema, {"type": "boolean"}]}
    with pytest.raises(ValueError, match="nests too many choices"):
        check_schema(schema)
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"items": deep}
    with pytest.raises(ValueError, match="nests deeper"):
        check_schema(deep)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"items": {"type": "string"}}}},
        {"properties": {"a": {"anyOf": [{"items": {"type": "string"}}, {"type": "null"}]}}},
        {"properties": {"a": {"items": {"allOf": [{"type": "string"}] * 400}}}},
        {"properties": {"a": {"uniqueItems": True, "contains": {"type": "string"}}}},
    ],
)
def test_a_large_wrong_input_is_refused_in_bounded_time(schema: dict[str, Any]) -> None:
    compiled, json_string = InputSchema(check_schema(schema)), json.dumps({"a": [1] * 300_000})
    began = time.process_time()
    assert compiled.faults(json_string)
    assert time.process_time() - began < 2


def test_the_cost_of_an_enumeration_is_counted() -> None:
    options = [{"a": {"b": [number] * 20}} for number in range(40)]
    schema = {"properties": {"x": {"items": {"enum": options}}}}
    began = time.process_time()
    # Inputs of 1 MiB, whose values are compared with each option, or with none.
    for value in ([options[-1]] * 13_000, [0] * 500_000, [options[-1]] * 1_000):
        assert _faults({"x": value}, schema) == {
            "input": [
                "It is too large to be checked against the worker's schema: it has too many values or characters."
            ]
        }
    assert _faults({"x": [options[-1]] * 10}, schema) == {}
    assert time.process_time() - began < 2
    # Texts are found by a hash, however many there are.
    countries = [f"country {number}" for number in range(3_000)]
    assert _faults({"x": countries}, {"properties": {"x": {"items": {"enum": countries}}}}) == {}


_MEBIBYTE = 2**20 - 100
_AB = "".join(Random(1).choices("ab", k=2**15))


def _each(part: dict[str, Any]) -> dict[str, Any]:
    return {"properties": {"a": {"items": part}}}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (_each({"allOf": [{"multipleOf": 0.0001}] * 100}), [1.5] * 30_000),
        (_each({"allOf": [{"minimum": 7}] * 300}), [10**4_000] * 250),
        (_each({"allOf": [{"format": "email"}] * 20}), ["someone@example.com"] * 40_000),
        (_each({"enum": [{"n": number} for number in range(200)]}), [{"n": 199}] * 8_000),
        (_each({"oneOf": [{"properties": {"k": {"const": n}}} for n in range(150)]}), [{"k": 50}] * 3_000),
        (_each({"anyOf": [{"properties": {"k": {"const": n}}, "required": ["k", "z"]} for n in range(90)]}), [{}] * 25),
        ({"properties": {"a": {"allOf": [{"format": "email"}] * 900}}}, "x" * _MEBIBYTE),
        ({"properties": {"a": {"allOf": [{"uniqueItems": True}] * 300}}}, [{"n": number} for number in range(8_000)]),
        ({"properties": {"a": {"allOf": [{"pattern": f"[ab]*a[ab]{{40}}c{n}"} for n in range(40)]}}}, _AB),
        ({"properties": {"a": {"pattern": "[ab]*a[ab]{45}c"}}}, _AB * 30),
        (
            {"properties": {"a": {"propertyNames": {"allOf": [{"pattern": f"x{n}?y"} for n in range(40)]}}}},
            {_AB * 30: 1},
        ),
        ({"properties": {"a": {"patternProperties": {f"[ab]*a[ab]{{40}}{n}": {} for n in range(40)}}}}, {_AB: 1}),
        (
            _each(_each(_each(_each(_each({"allOf": [{"type": "object"}] * 400}))))),
            [json.loads('{"a":[' * 4 + "]}" * 4)] * 9_000,
        ),
    ],
)
def test_no_schema_that_a_tenant_made_holds_up_a_process(schema: dict[str, Any], value: Any) -> None:
    compiled, json_string = InputSchema(check_schema(schema, TENANTS), TENANTS), json.dumps({"a": value})
    spent = []
    for _ in range(3):
        began = time.process_time()
        compiled.faults(json_string)
        spent.append(time.process_time() - began)
    # The interpreter is kept for 15 ms at most; the rest is the noise of a busy machine.
    assert min(spent) < 0.15


def test_a_tenants_schema_has_few_patterns() -> None:
    with pytest.raises(ValueError, match="each pattern 20 times"):
        check_schema({"properties": {f"k{n}": {"pattern": f"^[a-z]{{{n}}}$"} for n in range(60)}}, TENANTS)


def test_a_whole_number_of_many_digits_is_compared_as_a_float() -> None:
    schema = {"properties": {"a": {"type": "integer", "minimum": 7, "maximum": 10**400}}}
    for value in (8, 10**30, 10**399, 10**1_000):
        assert _faults({"a": value}, schema) == {}
    for value in (6, -(10**30), -(10**1_000)):
        assert list(_faults({"a": value}, schema)) == ["input.a"]
    assert list(_faults({"a": 10**30}, {"properties": {"a": {"maximum": 5}}})) == ["input.a"]


def test_a_pattern_of_a_tenant_is_tried_on_ordinary_strings() -> None:
    schema = {"properties": {"a": {"items": {"type": "string", "pattern": "^[a-z]+-[0-9]{3}$"}}}}
    compiled = InputSchema(check_schema(schema, TENANTS), TENANTS)
    assert compiled.faults(json.dumps({"a": ["item-123"] * 1_000})) == {}
    assert list(compiled.faults(json.dumps({"a": ["item-123", "item"]}))) == ["input.a[1]"]


def test_an_input_of_a_mebibyte_of_records_is_checked() -> None:
    fields = {f"field_{number}": {"type": ["integer", "null"]} for number in range(30)}
    record = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    records = [dict.fromkeys(fields, 1)] * 2_600
    assert len(json.dumps(records)) > 2**20
    assert _faults({"x": records}, {"properties": {"x": {"items": record}}}) == {}
