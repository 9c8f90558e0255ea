"""`/v1/ava/tenants`: the load of every tenant, for the roles of the platform."""

from __future__ import annotations

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.schemas.tenant_loads import TenantLoadRecord, write_tenant_load
from ava.store.reports.tenant_loads import MOST_TENANTS

__all__ = ["blueprint"]

blueprint = Blueprint("tenant_loads", __name__, url_prefix="/v1/ava/tenants")


@blueprint.get("")
@operation(
    summary="List the tenants with their jobs",
    description="For platform-admin and above: the tenants with jobs that wait, run, or ended in the last hour. Those "
    f"with the most failures are first, then those with the most waiting jobs; at most {MOST_TENANTS}.",
    record=TenantLoadRecord(many=True),
)
def list_tenants() -> Response:
    """Show the load of every tenant."""
    found = context().admin.overviews.tenants(caller())
    return responses.data(f"[{','.join([write_tenant_load(load) for load in found])}]")
