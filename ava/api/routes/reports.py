"""Reports of a tenant, `/overview` and `/analytics`, and of the platform, `/tenants` and `/promotions`."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.schemas.analytics import AnalyticsQuery, AnalyticsRecord, write_analytics
from ava.api.schemas.overview import (
    OverviewRecord,
    PromotionRecord,
    TenantLoadRecord,
    TenantLoadsQuery,
    write_overview,
    write_promotion,
    write_tenant_load,
)
from ava.services.reports import MAX_PROMOTIONS
from ava.store.reports.tenant_loads import MAX_SCANNED, MAX_TENANTS

overview = Blueprint("overview", __name__, url_prefix="/v1/ava")


@overview.get("/overview", endpoint="show")
@operation(
    summary="Show the tenant's totals",
    description="Waiting jobs by priority, running jobs, jobs that ended in each of the last 60 minutes (with a lag "
    "of a few seconds), and percentiles of the newest jobs. Its cost does not depend on the number of jobs.",
    record=OverviewRecord(),
    reads_standby=True,
)
def show_overview() -> Response:
    """Show the tenant's overview."""
    return responses.data(write_overview(context().admin.overviews.overview(caller())))


analytics = Blueprint("analytics", __name__, url_prefix="/v1/ava")


@analytics.get("/analytics", endpoint="show")
@operation(
    summary="Show statistics of ended jobs",
    description="Jobs that ended since `since`, each counted once, with a lag of a few seconds. The cost does not "
    "depend on their number. Deleting a job by retention does not change the counts.",
    query=AnalyticsQuery(),
    record=AnalyticsRecord(),
    reads_standby=True,
)
def show_analytics(query: dict[str, Any]) -> Response:
    """Show the analytics."""
    found = context().admin.analytics.read(
        caller(),
        days=query["days"],
        worker_id=query["worker_id"],
        group_by=query["group_by"],
        with_percentiles=query["percentiles"],
    )
    return responses.data(write_analytics(found))


tenant_loads = Blueprint("tenant_loads", __name__, url_prefix="/v1/ava/tenants")


@tenant_loads.get("")
@operation(
    summary="List the tenants with their jobs",
    description="For platform-admin and above: tenants with jobs that wait, run, or ended in the last hour; at most "
    f"{MAX_TENANTS}, sorted by failures, then by waiting jobs. A page scans {MAX_SCANNED:,} tenants by id; "
    "`next_cursor` continues it.",
    query=TenantLoadsQuery(),
    query_as="after",
    record=TenantLoadRecord(many=True),
    reads_standby=True,
)
def list_tenants(after: str | None) -> Response:
    """Show the load of tenants."""
    found = context().admin.overviews.tenants(caller(), after=after)
    texts = ",".join([write_tenant_load(load) for load in found.loads])
    place = json.dumps({"has_more": found.scanned_until is not None, "next_cursor": found.scanned_until})
    return responses.as_json(f'{{"data":[{texts}],"pagination":{place}}}\n')


promotions = Blueprint("promotions", __name__, url_prefix="/v1/ava/promotions")


@promotions.get("")
@operation(
    summary="List the promotions of a standby",
    description=f"For platform-admin and above: the newest {MAX_PROMOTIONS} promotions of a standby of PostgreSQL, "
    "the latest first, and whether commits are known to be lost with the previous server.",
    record=PromotionRecord(many=True),
)
def list_promotions() -> Response:
    """Show the promotions."""
    found = context().admin.overviews.promotions(caller())
    return responses.data(f"[{','.join([write_promotion(promotion) for promotion in found])}]")
