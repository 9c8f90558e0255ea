"""`/v1/ava/tenants/:id/limits`: the limits and the weight of one tenant."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.strict import DryRunQuery
from ava.api.routes.audit import note_change
from ava.api.schemas.tenants import TenantLimitsBody, TenantLimitsRecord, write_tenant_limits

blueprint = Blueprint("tenants", __name__, url_prefix="/v1/ava/tenants")


@blueprint.get("/<tenant:tenant_id>/limits")
@operation(
    summary="Show the limits of a tenant",
    description="For the tenant itself and for the roles of the platform.",
    record=TenantLimitsRecord(),
    failures=(404,),
)
def show_limits(tenant_id: str) -> Response:
    """Show what is set for one tenant."""
    return responses.data(write_tenant_limits(context().tenants.show(caller(), tenant_id)))


@blueprint.put("/<tenant:tenant_id>/limits")
@operation(
    summary="Set the limits of a tenant",
    description="For the roles of the platform. It replaces all of them; what waits already follows within 2 s.",
    body=TenantLimitsBody(),
    body_as="fields",
    record=TenantLimitsRecord(),
    failures=(404, 413, 415, 422),
    query=DryRunQuery(),
    is_write=True,
    is_for_operators=True,
)
def put_limits(tenant_id: str, fields: dict[str, Any]) -> Response:
    """Set what holds for one tenant."""
    before = write_tenant_limits(context().tenants.show(caller(), tenant_id))
    after = write_tenant_limits(context().tenants.put(caller(), tenant_id, fields))
    note_change(before, after, TenantLimitsBody().fields)
    return responses.data(after)
