"""`/v1/ava/limits`: this installation's limits and a tenant's use of each. `/v1/ava/tenants/:id/limits`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.paging import (
    PageRequest,
    client_id_reader,
    cursor_of_item,
    cursor_of_name,
    name_reader,
    page_of,
    page_query,
)
from ava.api.http.strict import DryRunQuery
from ava.api.routes.audit import record_change
from ava.api.schemas.reports import (
    LimitRecord,
    TenantLimitsBody,
    TenantLimitsRecord,
    WorkerLimitRecord,
    write_limit,
    write_tenant_limits,
    write_worker_limit,
)
from ava.domain.limits.table import LIMITS

#: The limits in the order of the list.
_NAMES = [limit.name for limit in LIMITS]
blueprint = Blueprint("limits", __name__, url_prefix="/v1/ava/limits")


@blueprint.get("")
@operation(
    summary="List limits",
    call=PublicCall(
        help="List the limits and the tenant's use of them.",
        columns="LIMIT=name value* unit USED=used* ERROR=status+ setting meaning+",
    ),
    description="Each limit of this installation by name, with the tenant's usage where it is counted, up to 10,000. "
    "Errors name the limit that caused them. Values that operators set for the tenant are included.",
    query=page_query(name_reader(_NAMES.__contains__)),
    record=LimitRecord(),
    is_list=True,
)
def show(query: PageRequest) -> Response:
    found = context().limits.show(caller())
    first = query.offset if query.after_id is None else _NAMES.index(query.after_id) + 1
    return page_of(
        query,
        found[first : first + query.limit],
        len(found),
        write_limit,
        cursor_of=lambda use: cursor_of_name(use.limit.name),
    )


@blueprint.get("/workers")
@operation(
    summary="List worker limits",
    call=PublicCall(
        command="limits list",
        help="List the workers with a limit and the tenant's use of it.",
        columns="WORKER=worker_id running* AT_MOST=max_running PER=limited_per RATE=rate WAITING=counted_waiting",
    ),
    description="By id: each worker with a limit that the tenant may run, with the tenant's running and waiting jobs.",
    query=page_query(client_id_reader("wkr")),
    record=WorkerLimitRecord(),
    is_list=True,
)
def show_workers(query: PageRequest) -> Response:
    found, total = context().limits.of_workers(caller(), bounds=query.bounds)
    return page_of(query, found, total, write_worker_limit, cursor_of=lambda use: cursor_of_item(use.worker_id))


tenants = Blueprint("tenants", __name__, url_prefix="/v1/ava/tenants")


@tenants.get("/<tenant:tenant_id>/limits")
@operation(
    summary="Show a tenant's limits",
    call=PublicCall(
        command="tenants show", help="Show the limits of a tenant. Empty ones are the installation's defaults."
    ),
    description="For the tenant itself and for the roles of the platform.",
    record=TenantLimitsRecord(),
    failures=(404,),
)
def show_limits(tenant_id: str) -> Response:
    return responses.data(write_tenant_limits(context().tenants.show(caller(), tenant_id)))


@tenants.put("/<tenant:tenant_id>/limits")
@operation(
    summary="Set a tenant's limits",
    call=PublicCall(
        method="tenants.set_limits",
        command="tenants update",
        help="Replace a tenant's limits; an empty one is the installation's default. Requires a platform role.",
        example="--weight 2 --unset max-running --role platform-admin",
    ),
    description="For the roles of the platform. Replaces all limits of the tenant; waiting jobs follow within 2 s.",
    body=TenantLimitsBody(),
    body_as="fields",
    record=TenantLimitsRecord(),
    failures=(404, 413, 415, 422),
    query=DryRunQuery(),
    is_write=True,
    is_for_operators=True,
)
def put_limits(tenant_id: str, fields: dict[str, Any]) -> Response:
    before = write_tenant_limits(context().tenants.show(caller(), tenant_id))
    after = write_tenant_limits(context().tenants.put(caller(), tenant_id, fields))
    record_change(before, after, TenantLimitsBody().fields)
    return responses.data(after)
