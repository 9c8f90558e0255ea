"""`/v1/ava/analytics`: counts and durations of a tenant's ended jobs."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.schemas.analytics import AnalyticsQuery, AnalyticsRecord, write_analytics

blueprint = Blueprint("analytics", __name__, url_prefix="/v1/ava")


@blueprint.get("/analytics")
@operation(
    summary="Show what ended jobs add up to",
    description="Jobs that ended since `since`, counted once each and a few seconds behind; it costs the same whatever "
    "their number. A job is counted when it ends, and stays counted when retention deletes it.",
    query=AnalyticsQuery(),
    record=AnalyticsRecord(),
    reads_standby=True,
)
def show(query: dict[str, Any]) -> Response:
    """Show the analytics."""
    found = context().admin.analytics.read(
        caller(),
        days=query["days"],
        worker_id=query["worker_id"],
        group_by=query["group_by"],
        with_percentiles=query["percentiles"],
    )
    return responses.data(write_analytics(found))
