"""`/v1/ava/overview`: totals of a tenant's jobs."""

from __future__ import annotations

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.schemas.overview import OverviewRecord, write_overview

blueprint = Blueprint("overview", __name__, url_prefix="/v1/ava")


@blueprint.get("/overview")
@operation(
    summary="Show the tenant's jobs in total",
    description="What waits, by priority; what runs; what ended in each of the last 60 minutes, counted a few seconds "
    "behind; and percentiles of the newest jobs. It costs the same whatever the number of jobs.",
    record=OverviewRecord(),
    reads_standby=True,
)
def show() -> Response:
    """Show the tenant's overview."""
    return responses.data(write_overview(context().admin.overviews.overview(caller())))
