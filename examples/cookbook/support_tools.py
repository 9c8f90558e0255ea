"""Two workers that an agent calls as tools."""

from dataclasses import dataclass
from typing import Any

from ava import worker

ORDERS: dict[str, dict[str, Any]] = {"o-17": {"cents": 1999, "status": "delivered"}}


@dataclass
class Order:
    order: str


@dataclass
class Refund:
    order: str
    cents: int


@worker(mcp="answer")
def find_order(input: Order) -> dict[str, Any]:
    """Return the total of an order in cents, and its status."""
    return ORDERS[input.order]


@worker(mcp="answer")
def refund_order(input: Refund) -> dict[str, int]:
    """Refund an order, at most its total."""
    if input.cents > ORDERS[input.order]["cents"]:
        raise ValueError(f"{input.order} has a smaller total")
    return {"refunded": input.cents}
