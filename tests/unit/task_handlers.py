"""Tasks with typed inputs and outputs of several libraries."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypedDict

import msgspec
import pydantic

from ava import Env, worker


@dataclass
class Order:
    order: int
    due: datetime | None = None
    parts: list[Part] = field(default_factory=list)


@dataclass
class Part:
    name: str


class Parcel(msgspec.Struct):
    order: int
    sent: datetime


class Receipt(pydantic.BaseModel):
    order: int
    lines: list[str]


class Total(TypedDict):
    cents: int


@worker("task_pack")
def pack(input: Order, env: Env) -> Parcel:
    """Pack an order."""
    return Parcel(input.order, datetime(2026, 1, 2, tzinfo=UTC))


@worker
async def task_bill(input: Order) -> Receipt:
    return Receipt(order=input.order, lines=[part.name for part in input.parts])


@worker(max_retries=1)
def task_total(input: dict[str, Any], env: Env) -> Total:
    return {"cents": 5}
