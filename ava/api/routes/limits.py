"""`/v1/ava/limits`: this installation's limits and a tenant's use of each. `/v1/ava/tenants/:id/limits`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.strict import DryRunQuery
from ava.api.routes.audit import record_change
from ava.api.schemas.limits import LimitRecord, WorkerLimitRecord, write_limit, write_worker_limit
from ava.api.schemas.tenants import TenantLimitsBody, TenantLimitsRecord, write_tenant_limits

blueprint = Blueprint("limits", __name__, url_prefix="/v1/ava/limits")


@blueprint.get("")
@operation(
    summary="Show the limits",
    description="Each limit of this installation by name, with the tenant's usage where it is counted, up to 10,000. "
    "Errors name the limit that caused them. Values that operators set for the tenant are included.",
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


tenants = Blueprint("tenants", __name__, url_prefix="/v1/ava/tenants")


@tenants.get("/<tenant:tenant_id>/limits")
@operation(
    summary="Show the limits of a tenant",
    description="For the tenant itself and for the roles of the platform.",
    record=TenantLimitsRecord(),
    failures=(404,),
)
def show_limits(tenant_id: str) -> Response:
    """Show the limits that are set for a tenant."""
    return responses.data(write_tenant_limits(context().tenants.show(caller(), tenant_id)))


@tenants.put("/<tenant:tenant_id>/limits")
@operation(
    summary="Set the limits of a tenant",
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
    """Replace the limits of a tenant."""
    before = write_tenant_limits(context().tenants.show(caller(), tenant_id))
    after = write_tenant_limits(context().tenants.put(caller(), tenant_id, fields))
    record_change(before, after, TenantLimitsBody().fields)
    return responses.data(after)
