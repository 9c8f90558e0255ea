"""Reports of a tenant, `/overview`, `/analytics` and `/series`, and of the platform, `/tenants` and `/promotions`."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.paging import PageRequest, client_id_reader, cursor_of_name, name_reader, page_of, page_query
from ava.api.schemas.reports import (
    AnalyticsQuery,
    AnalyticsRecord,
    ChartSeriesRecord,
    OverviewRecord,
    PromotionRecord,
    SeriesQuery,
    TenantLoadRecord,
    write_analytics,
    write_overview,
    write_promotion,
    write_series,
    write_tenant_load,
)
from ava.domain.worker import Scope
from ava.store.reports.tenant_loads import MAX_SCANNED


def _is_timeline(string: str) -> bool:
    return re.fullmatch(r"[1-9][0-9]{0,9}", string) is not None


overview = Blueprint("overview", __name__, url_prefix="/v1/ava")


@overview.get("/overview", endpoint="show")
@operation(
    summary="Show the overview",
    call=PublicCall(
        method="reports.overview",
        command="overview show",
        help="Show the waiting and running jobs, and the jobs that ended in the last hour.",
    ),
    description="Waiting jobs by priority, running jobs, jobs that ended in each of the last 60 minutes (with a lag "
    "of a few seconds), and percentiles of the newest jobs. Its cost does not depend on the number of jobs.",
    record=OverviewRecord(),
    reads_standby=True,
)
def show_overview() -> Response:
    return responses.data(write_overview(context().admin.overviews.overview(caller())))


analytics = Blueprint("analytics", __name__, url_prefix="/v1/ava")


@analytics.get("/analytics", endpoint="show")
@operation(
    summary="Show analytics",
    call=PublicCall(
        method="reports.analytics",
        command="analytics show",
        arguments="days",
        options={"days": "--days", "group_by": "--by", "percentiles": ""},
        help="Show the success rate, waiting and running times, and each worker's jobs.",
        example="--days 7",
    ),
    description="Jobs that ended since `since`, each counted once, with a lag of a few seconds. The cost does not "
    "depend on their number. Deleting a job by retention does not change the counts.",
    query=AnalyticsQuery(),
    record=AnalyticsRecord(),
    reads_standby=True,
)
def show_analytics(query: dict[str, Any]) -> Response:
    found = context().admin.analytics.read(
        caller(),
        days=query["days"],
        worker_id=query["worker_id"],
        group_by=query["group_by"],
        with_percentiles=query["percentiles"],
    )
    return responses.data(write_analytics(found))


series = Blueprint("series", __name__, url_prefix="/v1/ava")


@series.get("/series", endpoint="show")
@operation(
    summary="Show series",
    call=PublicCall(
        method="reports.series",
        command="series show",
        options={"tenant_id": "", "scope": "--all-tenants", "range_seconds": ""},
        help="Show ended, running and waiting jobs, and the times to start and to run, in steps of a range.",
        example="--since 6h --worker wkr_report",
    ),
    description="Everything that charts show over a time range: ended jobs by outcome, time to start, run time, "
    "running jobs against their limit, backlog by queue and priority, failures by kind, deploys and pauses. Points "
    "of minutes stay for 2 days, of hours for 90; the step is the smallest with at most 360 steps. Of a tenant's "
    "workers, backlogs and kinds of failures the 100 busiest of a minute have points (limit `series_rows`). The cost "
    "does not depend on the number of jobs.",
    query=SeriesQuery(),
    record=ChartSeriesRecord(),
    reads_standby=True,
    failures=(403,),
)
def show_series(query: dict[str, Any]) -> Response:
    of_platform = query.pop("scope") is Scope.PLATFORM
    return responses.data(write_series(context().admin.series.read(caller(), of_platform=of_platform, **query)))


tenant_loads = Blueprint("tenant_loads", __name__, url_prefix="/v1/ava/tenants")


@tenant_loads.get("")
@operation(
    summary="List tenants",
    call=PublicCall(
        help="List tenants with jobs that wait, run, or ended in the last hour. Requires --role "
        "platform-admin.\n\nNumbers of waiting and running jobs are exact up to 1,000.",
        example="--role platform-admin",
        lists_all=True,
        columns="TENANT=tenant_id WAITING=waiting_jobs SCHEDULED=scheduled_jobs+ RUNNING=running_jobs failed* "
        "completed+ cancelled+ SHARE=share*",
    ),
    description="For platform-admin and above, by id: tenants with jobs that wait, run, or ended in the last hour. A "
    f"page scans at most {MAX_SCANNED:,} tenants that have jobs at all; if it ends at this limit, it may have fewer "
    f"tenants than requested, or none, and `next_cursor` continues it. `total` counts the first {MAX_SCANNED:,}.",
    query=page_query(client_id_reader("ten")),
    record=TenantLoadRecord(),
    is_list=True,
    reads_standby=True,
)
def list_tenants(query: PageRequest) -> Response:
    found = context().admin.overviews.tenants(caller(), bounds=query.bounds)
    has_more = found.scanned_until is not None
    return page_of(
        query, found.loads, found.total, write_tenant_load, has_more=has_more, scanned_until=found.scanned_until
    )


promotions = Blueprint("promotions", __name__, url_prefix="/v1/ava/promotions")


@promotions.get("")
@operation(
    summary="List promotions",
    call=PublicCall(
        help="List the latest promotions of a PostgreSQL standby. Requires --role platform-admin.\n\nA promotion "
        "may have lost commits without showing it, if no job was stored shortly before.",
        example="--role platform-admin",
        lists_all=True,
        columns="TIMELINE=timeline SEEN=seen_at COMMITS_LOST=commits_lost RUNS_CHECKED=running*",
    ),
    description="For platform-admin and above: the promotions of a standby of PostgreSQL, the latest first, and "
    "whether commits are known to be lost with the previous server.",
    query=page_query(name_reader(_is_timeline)),
    record=PromotionRecord(),
    is_list=True,
)
def list_promotions(query: PageRequest) -> Response:
    before = None if query.after_id is None else int(query.after_id)
    found, total = context().admin.overviews.promotions(caller(), limit=query.limit, offset=query.offset, before=before)
    return page_of(query, found, total, write_promotion, cursor_of=lambda promotion: cursor_of_name(promotion.timeline))
