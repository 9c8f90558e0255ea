"""The annotation of a handler's input, or the option `input_schema`, describes what the API accepts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

import marshmallow
import pydantic
import pytest

from ava import testing, worker
from ava.domain.input_schema import InputSchema
from ava.errors import HandlerError
from ava.handler import registry
from tests.unit.test_declarations import NIGHTLY


@dataclass(frozen=True)
class Item:
    id: int


@dataclass(frozen=True)
class Notice:
    """What to send."""

    channel: str
    items: list[Item] = field(default_factory=list)


class Model(pydantic.BaseModel):
    channel: str = pydantic.Field(min_length=2)


class Form(marshmallow.Schema):
    channel = marshmallow.fields.String(required=True)
    items = marshmallow.fields.List(marshmallow.fields.Nested({"id": marshmallow.fields.Integer(required=True)}))


class Typed(TypedDict):
    channel: str


@dataclass
class Odd:
    value: object


pytestmark = pytest.mark.usefixtures("restored_registry")


def _schema(slug: str) -> dict[str, Any] | None:
    schema_json = registry.handlers()[f"wkr_{slug}"].spec.input_schema_json
    return None if schema_json is None else dict(json.loads(schema_json))


@pytest.mark.parametrize("kind", [Notice, Model, Form, Form(), Typed])
def test_each_kind_of_description_becomes_a_schema_with_its_fields(kind: Any) -> None:
    @worker("described", input_schema=kind)
    def handle(input: dict[str, Any]) -> str:
        return type(input).__name__

    schema = _schema("described")
    assert schema is not None
    assert schema["required"] == ["channel"]
    assert schema["properties"]["channel"]["type"] == "string"
    assert InputSchema(json.dumps(schema)).faults('{"channel":1}')
    # The annotation asks for a dict.
    assert testing.run(handle, {"channel": "#ops"}).output == "dict"


def test_a_handler_gets_what_its_annotation_asks_for() -> None:
    @worker("of_dataclass")
    def of_dataclass(input: Notice) -> list[int]:
        return [each.id for each in input.items]

    @worker("of_pydantic")
    def of_pydantic(input: Model) -> str:
        return input.channel

    assert testing.run(of_dataclass, {"channel": "a", "items": [{"id": 7}]}).output == [7]
    assert testing.run(of_pydantic, {"channel": "#ops"}).output == "#ops"
    assert _schema("of_dataclass") is not None
    failed = testing.run(of_dataclass, {"channel": "a", "items": [{"id": "x"}]})
    assert failed.error is not None
    assert failed.error == 'InputInvalid: input.items[0].id: It is not of type "integer".'


def test_other_annotations_describe_nothing() -> None:
    @worker("plain")
    def plain(input: dict[str, Any]) -> None: ...

    @worker("mapping")
    def mapping(input: Mapping[str, Any]) -> None: ...

    assert _schema("plain") is _schema("mapping") is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"input_schema": 5}, "input_schema must be a JSON Schema, a schema of marshmallow"),
        ({"input_schema": {"type": "text"}}, "input_schema: type: "),
        ({"input_schema": {"pattern": r"(a)\1"}}, "input_schema: pattern: the pattern cannot be used"),
        ({"input_schema": Odd}, r"input_schema: Odd\.value cannot be described"),
        ({"input_schema": Notice, **NIGHTLY}, "sends an empty input, which input_schema does not accept"),
    ],
)
def test_a_wrong_description_is_refused_at_the_declaration(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(HandlerError, match=reason):

        @worker("wrong", **options)
        def wrong(input: dict[str, Any]) -> None: ...

    assert registry.find("wkr_wrong") is None


def test_the_version_changes_with_the_schema() -> None:
    versions = set()
    for kind in (Notice, Model):
        registry._handlers.pop("wkr_versioned", None)

        @worker("versioned", input_schema=kind)
        def versioned(input: dict[str, Any]) -> None: ...

        versions.add(registry.handlers()["wkr_versioned"].spec.input_schema_version)
    assert len(versions) == 2
