"""`/v1/ava/limits`: the limits of this installation, and what a tenant uses of them."""

from __future__ import annotations

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.schemas.limits import LimitRecord, write_limit

__all__ = ["blueprint"]

blueprint = Blueprint("limits", __name__, url_prefix="/v1/ava/limits")


@blueprint.get("")
@operation(
    summary="Show the limits",
    description="Each limit of this installation by name, with the tenant's use if it is counted, up to 10,000. An "
    "error that a limit causes names it.",
    record=LimitRecord(many=True),
)
def show() -> Response:
    """Show every limit."""
    found = context().limits.show(caller())
    return responses.data(f"[{','.join([write_limit(limit) for limit in found])}]")
