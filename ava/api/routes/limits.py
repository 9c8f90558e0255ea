"""`/v1/ava/limits`: this installation's limits, and a tenant's use of them."""

from __future__ import annotations

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.schemas.limits import LimitRecord, WorkerLimitRecord, write_limit, write_worker_limit

blueprint = Blueprint("limits", __name__, url_prefix="/v1/ava/limits")


@blueprint.get("")
@operation(
    summary="Show the limits",
    description="Each limit of this installation by name, with the tenant's use if it is counted, up to 10,000. An "
    "error that a limit causes names it. What operators have set for the tenant is its value.",
    record=LimitRecord(many=True),
)
def show() -> Response:
    """Show every limit."""
    found = context().limits.show(caller())
    return responses.data(f"[{','.join([write_limit(limit) for limit in found])}]")


@blueprint.get("/workers")
@operation(
    summary="Show the limits of workers",
    description="Each worker with a limit that the tenant may run, with the tenant's running and waiting jobs.",
    record=WorkerLimitRecord(many=True),
)
def show_workers() -> Response:
    """Show the limits of workers."""
    found = context().limits.of_workers(caller())
    return responses.data(f"[{','.join([write_worker_limit(limit) for limit in found])}]")
