"""`/v1/ava/overview` and `/v1/ava/nodes`: a tenant's jobs in sum, and the nodes that run them."""

from __future__ import annotations

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.records import compile_schema
from ava.api.schemas.admin import NodeRecord, OverviewRecord

__all__ = ["blueprint"]

blueprint = Blueprint("overview", __name__, url_prefix="/v1/ava")

_overview = compile_schema(OverviewRecord())
_node = compile_schema(NodeRecord())


@blueprint.get("/overview")
@operation(
    summary="See the tenant's jobs in sum",
    description="What waits, by priority; what runs; what ended in each of the last 60 minutes, counted a few seconds "
    "behind; and percentiles of the newest jobs. It costs the same whatever the number of jobs.",
    answer=OverviewRecord(),
)
def show() -> Response:
    """The tenant's overview."""
    return responses.data(_overview(context().operators.overviews.overview(caller())))


@blueprint.get("/nodes")
@operation(
    summary="List the nodes",
    description="The live ones first; one that has ended is shown for an hour. `jobs` holds those of the caller's "
    "tenant alone, while `busy` counts everybody's.",
    answer=NodeRecord(many=True),
)
def nodes() -> Response:
    """The nodes."""
    shown = context().operators.overviews.nodes(caller())
    return responses.data(f"[{','.join([_node(node) for node in shown])}]")
