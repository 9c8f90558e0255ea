"""The input of a job that `ava dev` prints to try is one that the worker's schema accepts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pydantic
import pytest

from ava.domain.input_schema import InputSchema, check_schema
from ava.handler.input_types import input_type
from ava.local import example


class Item(pydantic.BaseModel):
    sku: str
    price: Decimal
    count: int = pydantic.Field(ge=2)


class Card(pydantic.BaseModel):
    kind: Literal["card"]


class Invoice(pydantic.BaseModel):
    kind: Literal["invoice"]
    due: date


class Order(pydantic.BaseModel):
    id: UUID
    at: datetime
    pay: Annotated[Card | Invoice, pydantic.Field(discriminator="kind")]
    items: list[Item] = pydantic.Field(min_length=1)
    size: Literal["s", "l"]
    note: str = ""


@dataclass
class Refund:
    order: str
    cents: Annotated[int, msgspec.Meta(ge=1)]
    parts: list[str]
    is_whole: bool


@pytest.mark.parametrize("kind", [Order, Refund, {"type": "object"}, {"required": ["a"], "properties": {"a": {}}}, {}])
def test_an_example_has_what_the_schema_requires(kind: Any) -> None:
    described = input_type(kind)
    assert described is not None
    found = example.input_of(described.schema)
    assert InputSchema(check_schema(described.schema)).faults(json.dumps(found)) == {}
    assert found.keys() == set(described.schema.get("required", ()))
