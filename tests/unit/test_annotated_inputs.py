"""Each annotation of an input is checked by the API, or refused at the declaration with the name of the field."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from pydantic.json_schema import GenerateJsonSchema

from ava import testing, worker
from ava.domain.input_schema import InputSchema
from ava.errors import HandlerError
from ava.handler import registry

if TYPE_CHECKING:
    from ava import Env
    from tests.unit.test_input_types import Notice


class Order(pydantic.BaseModel):
    """With a decimal number, in which pydantic 2.12 and 2.13 write a pattern that looks ahead."""

    price: Decimal


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    id: UUID
    at: datetime


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="ignore")

    name: str


class Renamed(pydantic.BaseModel):
    name: str = pydantic.Field(default="", validation_alias=pydantic.AliasChoices("name", "label"))


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    master: Cat | None = None


class Called(pydantic.BaseModel):
    name: str
    callback: Callable[[], None]


@pydantic.dataclasses.dataclass
class Bounded:
    count: Annotated[int, pydantic.Field(ge=1)]


@dataclass
class Part:
    id: int


class Typed(TypedDict):
    id: int


class Created(msgspec.Struct, tag=True):
    id: int


class Deleted(msgspec.Struct, tag=True):
    id: int


Payload = NewType("Payload", dict[str, Any])
Pet = Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]


pytestmark = pytest.mark.usefixtures("restored_registry")


def _declared(annotation: Any) -> tuple[Callable[..., Any], InputSchema | None]:
    """Declares a handler with an annotation of its input. Returns it, and the schema that the API checks."""

    def handle(input: Any) -> str:
        return repr(input)

    handle.__annotations__["input"] = annotation
    worker("declared")(handle)
    schema_json = registry.handlers()["wkr_declared"].spec.input_schema_json
    return handle, None if schema_json is None else InputSchema(schema_json)


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        (Order, {"price": "12.50"}, {"price": "12.5 EUR"}),
        (Order, {"price": 12.5}, {"price": "."}),
        (Order | None, {"price": "1"}, {}),
        (Strict, {"id": str(UUID(int=7)), "at": "2026-01-01T00:00:00Z"}, {"id": 7, "at": "2026-01-01T00:00:00Z"}),
        (Pet, {"kind": "cat", "lives": 3}, {"kind": "bird"}),
        (Cat | Dog, {"kind": "dog", "master": {"kind": "cat"}}, {"kind": "dog", "master": {"kind": "dog"}}),
        (Bounded, {"count": 1}, {"count": 0}),
        (Part | None, {"id": 1}, {"id": "1"}),
        (Typed, {"id": 1}, {"id": "1"}),
        (Created | Deleted, {"type": "Created", "id": 1}, {"type": "Moved", "id": 1}),
        (Open, {"name": "a", "more": 1}, {"more": 1}),
        (Renamed, {"label": "a"}, {"name": 1}),
    ],
)
def test_an_annotation_is_what_the_api_checks_and_what_the_handler_gets(
    annotation: Any, right: Mapping[str, Any], wrong: Mapping[str, Any]
) -> None:
    handle, schema = _declared(annotation)
    assert schema is not None
    assert schema.faults(json.dumps(right)) == {}
    assert schema.faults(json.dumps(wrong))
    done = testing.run(handle, dict(right))
    assert done.error is None
    # A TypedDict is a dict; the others are values of their own.
    assert annotation is Typed or not str(done.output).startswith("{")


@pytest.mark.parametrize("annotation", [Order, Strict, Cat, Dog, Pet, Bounded, Part, Typed])
def test_a_field_that_the_type_does_not_name_is_refused(annotation: Any) -> None:
    _, schema = _declared(annotation)
    assert schema is not None
    faults = schema.faults('{"kind":"cat","price":1,"count":1,"id":1,"misspelt":1}')
    assert any("misspelt" in path or "oneOf" in str(messages) for path, messages in faults.items())


class Aliased(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)
    order_no: int = pydantic.Field(alias="orderNo")
    place: int = pydantic.Field(
        default=0, validation_alias=pydantic.AliasChoices("place", "at", pydantic.AliasPath("places", 0))
    )


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"orderNo": 1}, None),
        ({"order_no": 1, "at": 2}, None),
        ({"orderNo": 1, "places": [1]}, None),
        ({}, ("input.orderNo", "as orderNo or order_no.")),
        ({"order_no": "1"}, ("input.order_no", 'not of type "integer"')),
        ({"orderNo": 1, "order": 2}, ("input.order", "no such field")),
    ],
)
def test_a_field_has_all_names_of_its_model_and_no_others(given: Any, fault: tuple[str, str] | None) -> None:
    handle, schema = _declared(Aliased)
    assert schema is not None
    faults = schema.faults(json.dumps(given))
    if fault is None:
        assert faults == {}
        assert testing.run(handle, given).error is None
    else:
        ((path, (message,)),) = faults.items()
        assert path == fault[0]
        assert fault[1] in message


@pytest.mark.parametrize(
    ("annotation", "given", "faults"),
    [
        (Cat | Dog | None, {"kind": "bird"}, {"input.kind": 'It must be one of "cat", "dog".'}),
        (Pet, {}, {"input.kind": "It is missing, and the worker's schema requires it."}),
        (Cat | Dog, {"kind": "cat", "lives": "nine"}, {"input.lives": 'It is not of type "integer".'}),
        (Dog, {"kind": "dog", "master": {"kind": "cow"}}, {"input.master.kind": 'It must be "cat".'}),
    ],
)
def test_a_wrong_choice_is_named_by_what_chooses_it(annotation: Any, given: Any, faults: dict[str, str]) -> None:
    _, schema = _declared(annotation)
    assert schema is not None
    assert schema.faults(json.dumps(given)) == {path: [message] for path, message in faults.items()}


def test_a_nested_model_refuses_them_too() -> None:
    _, schema = _declared(Dog)
    assert schema is not None
    assert schema.faults('{"kind":"dog","master":{"kind":"cat","misspelt":1}}')


def test_a_pattern_that_looks_ahead_does_not_stop_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    looking = {"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"}
    monkeypatch.setattr(GenerateJsonSchema, "decimal_schema", lambda *_: {"anyOf": [{"type": "number"}, dict(looking)]})
    _, schema = _declared(Order)
    assert schema is not None
    assert schema.faults('{"price":"-0.5"}') == {}
    assert schema.faults('{"price":"-"}')


def test_an_env_that_only_a_type_checker_imports_leaves_the_input_checked() -> None:
    @worker("typed")
    def typed(input: Part, env: Env) -> int:
        return input.id

    assert registry.handlers()["wkr_typed"].spec.input_schema_json is not None
    assert testing.run(typed, {"id": 7}).output == 7


@pytest.mark.parametrize("annotation", ["MutableMapping[str, Any]", "dict[str, Any]", "Any", "dict | None", Payload])
def test_any_mapping_describes_nothing(annotation: Any) -> None:
    assert _declared(annotation)[1] is None


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ("Notice", r"the annotation 'Notice' of input cannot be resolved: name 'Notice' is not defined; import it"),
        (Called, r"input: Called\.callback cannot be described"),
        (Called | None, r"input: Called\.callback cannot be described"),
        (int, "input: int describes no object"),
        (list[int], "describes no object"),
        (Part | Typed, "cannot be described"),
    ],
)
def test_what_cannot_be_checked_is_refused_with_its_name(annotation: Any, reason: str) -> None:
    with pytest.raises(HandlerError, match=f"Worker 'declared': .*{reason}"):
        _declared(annotation)


def test_with_a_schema_of_its_own_an_annotation_is_for_the_type_checker() -> None:
    @worker("schema", input_schema={"required": ["id"]})
    def schema(input: Notice) -> str:
        return type(input).__name__

    assert testing.run(schema, {"id": 1}).output == "dict"


def test_a_union_is_an_input_schema_too() -> None:
    @worker("union", input_schema=Cat | Dog)
    def union(input: dict[str, Any]) -> str:
        return str(input["kind"])

    schema_json = registry.handlers()["wkr_union"].spec.input_schema_json
    assert schema_json is not None
    assert InputSchema(schema_json).faults('{"kind":"bird"}')
